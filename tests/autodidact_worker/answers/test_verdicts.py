from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers.verdicts import verdict
from support.sampled_answers import NUMBERS, answers


def test_a_verdict_has_greedy_vote_and_curve() -> None:
    """Vote of the first 1: 4; of 2: 4, the earlier of equals; of 4: 4, 5, none, 5 gives 5."""
    found = verdict(answers("4", "5", None, "5", "7", greedy="4"), NUMBERS)
    assert (found.greedy, found.greedy_correct) == ("4", False)
    assert (found.vote, found.vote_correct, found.votes) == ("5", True, 2)
    assert (found.valid, found.samples) == (4, 5)
    assert found.curve == (False, False, True, True)


def test_the_greedy_answer_does_not_vote() -> None:
    """Two samples outvote one although the greedy answer agrees with the one."""
    found = verdict(answers("4", "4", "5", greedy="5"), NUMBERS)
    assert (found.vote, found.vote_correct, found.greedy_correct) == ("4", False, True)


def test_without_a_readable_sample_there_is_no_vote() -> None:
    """Nothing readable is a wrong vote; nothing asked is none."""
    found = verdict(answers(None, None), NUMBERS)
    assert (found.vote, found.vote_correct, found.votes, found.valid) == (None, False, 0, 0)
    assert (found.greedy, found.greedy_correct) == (None, None)
    assert found.curve == (False, False)
    alone = verdict(answers(greedy="5"), NUMBERS)
    assert (alone.vote, alone.vote_correct, alone.samples, alone.curve) == (None, None, 0, ())


def test_a_published_choice_that_may_not_vote_is_a_wrong_vote() -> None:
    """Under rcCompat only values of one character vote."""
    rules = Answers(rules="rcCompat", kind="choice")
    found = verdict(answers("none", "none", gold="b"), rules)
    assert (found.vote, found.vote_correct, found.valid) == (None, False, 0)
