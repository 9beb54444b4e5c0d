"""The verdict on a question: whether its greedy answer and its majority votes are right. Pure."""

from autodidact_contract.records import AnswerSample, Verdict
from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import majority


def verdict(
    samples: list[AnswerSample], rules: Answers, same: majority.Equality | None = None
) -> Verdict:
    """Returns what became of a question.

    Args:
        samples: Its answers by index; a greedy one comes first and does not vote.
        rules: Whose equality makes groups of votes.
        same: An equality to use instead.
    """
    greedy = next((row for row in samples if row.index < 0), None)
    voters = [row for row in samples if row.index >= 0]
    values = [row.value for row in voters]
    right = {row.value: row.correct for row in voters}
    vote, votes = majority.majority(values, rules, same)
    gold = samples[0].gold
    ks = majority.checkpoints(len(voters))
    curve = majority.vote_curve([values], [gold], ks, rules, same)
    return Verdict(
        question_id=samples[0].question_id,
        gold=gold,
        greedy=greedy.value if greedy else None,
        greedy_correct=greedy.correct if greedy else None,
        vote=vote,
        # The vote is somebody's value, which was graded.
        vote_correct=vote is not None and right[vote] if voters else None,
        votes=votes,
        valid=sum(majority.can_vote(value, rules) for value in values),
        samples=len(voters),
        curve=tuple(bool(curve[k]) for k in ks),
    )
