from autodidact_contract.records import Reranked
from autodidact_worker.answers.reranking import choice
from support.reranked import RULES, answer


def test_the_best_candidate_is_chosen() -> None:
    """The highest probability, of equals the first; without a candidate the question is wrong."""
    group = [answer(1, 0, "xb", "2"), answer(1, 1, "xa", "1"), answer(1, 2, "ya", "1")]
    found = choice(group, group, [0.2, 0.7, 0.7], RULES)
    assert found == Reranked(
        question_id="q1", gold="1", value="1", correct=True, probability=0.7, candidates=3
    )
    none = choice([answer(2, 0, "b")], [], [], RULES)
    assert none == Reranked(
        question_id="q2", gold="1", value=None, correct=False, probability=None, candidates=0
    )
