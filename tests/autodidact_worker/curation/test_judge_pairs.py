"""Preference pairs of judgements: which of them are kept, and what is measured."""

from collections import Counter
from typing import Any

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Pair
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_worker.curation import judge_pairs


def config(**changes: Any) -> BuildJudgePairs:
    """Half of all pairs may be of judgements, and every score may have all of them."""
    values: dict[str, Any] = {
        "rubric": "additive-v1",
        "max_share": 0.5,
        "max_score_share": 1.0,
        "max_chosen_length": 1000,
    }
    return BuildJudgePairs(**values | changes)


def pair(number: int, score: float) -> tuple[Pair, float]:
    """A pair whose winner gave this score."""
    made = Pair(
        prompt_id=f"{number:016x}",
        prompt="judge this",
        chosen="a" * number,
        rejected="b",
        chosen_id=f"{number}/0",
        rejected_id=f"{number}/1",
        chosen_score=1.5,
        rejected_score=0.5,
    )
    return made, score


PAIRS = [pair(number, score=float(number % 2)) for number in range(1, 9)]


def test_judgements_have_their_share_of_all_pairs() -> None:
    """With 3 pairs of replies a share of one half leaves 3 of 8, in their order."""
    counts = Counter({"reply-pairs": 3})
    kept = judge_pairs.capped(PAIRS, config(), counts)
    assert len(kept) == 3
    assert kept == [one for one in PAIRS if one in kept]
    assert (counts["dropped-share"], counts["dropped-score-share"]) == (5, 0)


def test_a_share_of_nothing_is_nothing() -> None:
    """Without pairs of replies no pair of judgements is learned from."""
    counts = Counter({"reply-pairs": 0})
    assert judge_pairs.capped(PAIRS, config(), counts) == []
    assert counts["dropped-share"] == 8


def test_means_are_over_the_kept_pairs() -> None:
    """Length in characters, the gap of the ratings, and the scores of the winners."""
    assert judge_pairs.metrics(PAIRS[:2]) == {
        "gap": Mean(total=2, weight=2),
        "chosenLength": Mean(total=3, weight=2),
        "rejectedLength": Mean(total=2, weight=2),
        "chosenScore": Mean(total=1, weight=2),
    }
