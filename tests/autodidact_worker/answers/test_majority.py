import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import majority, reading

PUBLISHED, ROBUST = (Answers(rules=rules, kind="number") for rules in ("rcCompat", "robust"))
PUBLISHED_CHOICE, ROBUST_CHOICE = (
    Answers(rules=rules, kind="choice") for rules in ("rcCompat", "robust")
)
TEXT = Answers(rules="robust", kind="text")


@dataclass(frozen=True)
class Said:
    """A candidate."""

    text: str
    value: str | None


@pytest.mark.parametrize(
    ("values", "rules", "vote"),
    [
        (["18", "3", "18"], ROBUST, ("18", 2)),
        (["3", None, None, None], ROBUST, ("3", 1)),
        ([None, None], ROBUST, (None, 0)),
        ([], ROBUST, (None, 0)),
        (["3", "18", "18", "3"], ROBUST, ("3", 2)),
        (["18", "3", "3", "18"], ROBUST, ("18", 2)),
        (["5", "18", "18.005", "17.995", "5"], ROBUST, ("18", 3)),
        (["18.0", "18.005", "3.0"], PUBLISHED, ("18.0", 2)),
        (["0.036", "0.033", "0.031", "7.0"], PUBLISHED, ("0.036", 3)),
        (["7", "0.036", "0.033"], ROBUST, ("7", 1)),
        (["nan", "nan", "inf", "3.0", "3.005", "2.995"], PUBLISHED, ("3.0", 3)),
        (["inf", "3.0", "inf", "-inf"], PUBLISHED, ("inf", 2)),
        (["none", "none", "", "b"], PUBLISHED_CHOICE, ("b", 1)),
        (["5", "5", "b"], PUBLISHED_CHOICE, ("5", 2)),
        (["none", "so its b"], PUBLISHED_CHOICE, (None, 0)),
        (["b", "c", "c"], ROBUST_CHOICE, ("c", 2)),
        (["New York", "Rome", "new york"], TEXT, ("New York", 2)),
    ],
)
def test_majority(
    values: Sequence[str | None], rules: Answers, vote: tuple[str | None, int]
) -> None:
    """Equal values vote together under their first one; of equal groups the earliest wins."""
    assert majority.majority(values, rules) == vote


def test_the_first_value_stands_for_its_group() -> None:
    """1.008 equals 1.016 but not 1, whose group it would have to join before."""
    assert majority.majority(["1.0", "1.008", "1.016"], PUBLISHED) == ("1.0", 2)
    assert majority.majority(["1.008", "1.0", "1.016"], PUBLISHED) == ("1.008", 3)
    # 1.008 lies within both groups' reach and joins the earlier one.
    assert majority.majority(["1.016", "1.0", "1.008"], PUBLISHED) == ("1.016", 2)


def test_another_equality_makes_groups() -> None:
    """Such as that of formulas."""
    found = majority.majority(["x", "a+b", "b+a"], TEXT, lambda gold, text: len(gold) == len(text))
    assert found == ("a+b", 2)


@given(
    st.lists(st.integers(0, 400).map(lambda n: repr(1 + n / 2000)), max_size=60)
    | st.lists(st.floats().map(repr), max_size=60)
)
@example(["3.0", "nan", "1.0", "1.005"])
def test_numbers_group_as_if_all_were_compared(values: list[str]) -> None:
    """Looking at close numbers only finds the same groups."""

    def same(gold: str, value: str) -> bool:
        return gold == value or reading.equal(gold, value, PUBLISHED)

    assert majority.majority(values, PUBLISHED) == majority.majority(values, PUBLISHED, same)


def test_the_curve_votes_with_the_first_answers() -> None:
    """By hand: right at 1 and 4 for the first question, at 2 and 4 for the second."""
    values = [["18", "3", "3", "18"], [None, "7", "8", "7"]]
    assert majority.vote_curve(values, ["18", "7"], (1, 2, 4), ROBUST) == {1: 0.5, 2: 1.0, 4: 1.0}
    assert majority.vote_curve(values, ["3", "8"], (3, 1), ROBUST) == {1: 0.0, 3: 0.5}
    assert majority.vote_curve([], [], (1, 2), ROBUST) == {}


def test_the_curve_is_majority_at_each_point() -> None:
    """One pass over the answers says what a vote on each beginning says."""
    rng = random.Random(0)
    values = [[str(rng.randrange(5)) for _ in range(40)] for _ in range(30)]
    golds = ["0"] * len(values)
    curve = majority.vote_curve(values, golds, majority.powers_of_two(40), ROBUST)
    for k, accuracy in curve.items():
        votes = [majority.majority(sampled[:k], ROBUST)[0] for sampled in values]
        assert accuracy == sum(vote == "0" for vote in votes) / len(votes)


def test_powers_of_two() -> None:
    """Up to the number itself."""
    assert majority.powers_of_two(0) == ()
    assert majority.powers_of_two(1) == (1,)
    assert majority.powers_of_two(100) == (1, 2, 4, 8, 16, 32, 64)
    assert majority.powers_of_two(128)[-1] == 128


@pytest.mark.parametrize(
    ("values", "scores", "rules", "best"),
    [
        (["1", "2", "3"], [0.1, 0.9, 0.5], ROBUST, 1),
        (["1", None, "3"], [0.1, 0.9, 0.5], ROBUST, 2),
        (["1", "2", "3"], [0.5, 0.9, 0.9], ROBUST, 1),
        ([None, None], [0.1, 0.9], ROBUST, None),
        ([], [], ROBUST, None),
        (["none", "5", "b", "c"], [0.9, 0.8, 0.2, 0.1], PUBLISHED_CHOICE, 2),
        (["1", "2"], [-3.0, -2.0], ROBUST, 1),
    ],
)
def test_rerank(
    values: Sequence[str | None], scores: Sequence[float], rules: Answers, best: int | None
) -> None:
    """The highest score among answers with a value wins, the first of equals."""
    candidates = [Said(f"text {i}", value) for i, value in enumerate(values)]
    found = majority.rerank(candidates, scores, rules)
    assert found == (None if best is None else candidates[best])


def test_a_text_competes_once() -> None:
    """The score of its first occurrence counts, as there are no others."""
    candidates = [Said("a", "1"), Said("b", "2"), Said("a", "1")]
    assert majority.rerank(candidates, [0.1, 0.5, 0.9], ROBUST) == candidates[1]


def test_every_candidate_has_a_score() -> None:
    """Lists of different length are a mistake."""
    with pytest.raises(ValueError, match="shorter"):
        majority.rerank([Said("a", "1")], [], ROBUST)
