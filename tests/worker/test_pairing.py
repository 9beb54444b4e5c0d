from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodidact_contract.records import Judged, Pair, Vote
from autodidact_contract.stages import BuildPairs
from autodidact_worker import pairing


def config(**changes: Any) -> BuildPairs:
    """The paper's rule: best against worst, replies cut by length excluded."""
    values = {"tie_break": "random", "min_score_gap": 0.0, "exclude_truncated": True}
    return BuildPairs(**values | changes)


def candidates(*scores: float | None, **fields: list[Any]) -> list[Judged]:
    """Replies with these scores; ``fields`` replaces values by index."""
    made = []
    for index, score in enumerate(scores):
        values = {name: given[index] for name, given in fields.items()}
        row = Judged(
            id=f"p-{index}",
            prompt_id="p",
            prompt="prompt",
            text=f"text {index}",
            finish="stop",
            votes=(),
            score=score,
        )
        made.append(row.model_copy(update=values))
    return made


def picked(found: Any) -> tuple[float, float]:
    """The scores of a pair."""
    assert isinstance(found, Pair)
    return found.chosen_score, found.rejected_score


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((4, 4, 4, 4), "tie"),
        ((5, None, None, None), "unscored"),
        ((None, None), "unscored"),
        ((), "unscored"),
    ],
)
def test_some_prompts_give_no_pair(scores: Any, expected: str) -> None:
    """Equal scores tie, and one scored reply has nobody to be compared with."""
    assert pairing.pair(candidates(*scores), config()) == expected


@pytest.mark.parametrize(
    ("scores", "chosen", "rejected"),
    [((3.67, 3.33, 5, 2), 2, 3), ((5, None, 2, None), 0, 2), ((0, 0.5), 1, 0)],
)
def test_best_meets_worst(scores: Any, chosen: int, rejected: int) -> None:
    """The highest mean is chosen and the lowest rejected; unscored replies never compete."""
    found = pairing.pair(candidates(*scores), config())
    assert picked(found) == (scores[chosen], scores[rejected])
    assert isinstance(found, Pair)
    assert (found.chosen_id, found.rejected_id) == (f"p-{chosen}", f"p-{rejected}")


def test_ties_at_both_ends_are_drawn_with_the_seed() -> None:
    """The same seed draws the same pair, and over seeds every candidate is drawn."""
    rows = candidates(5, 5, 1, 1)
    drawn = [pairing.pair(rows, config(seed=seed)) for seed in range(40)]
    assert drawn == [pairing.pair(rows, config(seed=seed)) for seed in range(40)]
    ids = {(pair.chosen_id, pair.rejected_id) for pair in drawn if isinstance(pair, Pair)}
    assert ids == {("p-0", "p-2"), ("p-0", "p-3"), ("p-1", "p-2"), ("p-1", "p-3")}


def test_the_draw_does_not_depend_on_the_order_of_candidates() -> None:
    """A pair is a function of the replies, not of how they were listed."""
    rows = candidates(5, 5, 1, 1)
    assert pairing.pair(rows, config()) == pairing.pair(rows[::-1], config())


def test_identical_texts_are_no_pair() -> None:
    """Texts are compared without surrounding white space."""
    rows = candidates(5, 1, text=["same", " same\n"])
    assert pairing.pair(rows, config()) == "identical"


def test_a_reply_cut_by_length_does_not_compete_by_default() -> None:
    """The best reply was cut: the second best wins, unless truncated replies may compete."""
    rows = candidates(5, 4, 1, finish=["length", "stop", "stop"])
    assert picked(pairing.pair(rows, config())) == (4, 1)
    assert picked(pairing.pair(rows, config(exclude_truncated=False))) == (5, 1)


def test_too_few_complete_replies_are_counted_apart() -> None:
    """Scored, but all cut by length except one."""
    rows = candidates(5, 1, finish=["length", "stop"])
    assert pairing.pair(rows, config()) == "truncated"


def test_the_gap_must_reach_its_minimum() -> None:
    """A gap equal to the minimum is kept, a smaller one is not."""
    assert pairing.pair(candidates(5, 4.67), config(min_score_gap=0.5)) == "gap"
    assert picked(pairing.pair(candidates(5, 4.5), config(min_score_gap=0.5))) == (5, 4.5)


def test_shortest_breaks_ties_by_length() -> None:
    """The shortest of the best is chosen and the longest of the worst rejected."""
    rows = candidates(5, 5, 1, 1, text=["longer", "short", "bad", "worse text"])
    found = pairing.pair(rows, config(tie_break="shortest"))
    assert isinstance(found, Pair)
    assert (found.chosen, found.rejected) == ("short", "worse text")


def test_lowest_variance_breaks_ties_by_agreement() -> None:
    """Of equal means the one whose votes agree is taken at both ends."""

    def votes(*scores: float) -> tuple[Vote, ...]:
        return tuple(Vote(text="", score=score, reason="ok") for score in scores)

    rows = candidates(4, 4, 1, 1, votes=[votes(3, 5), votes(4, 4), votes(1, 1), votes(0, 2)])
    found = pairing.pair(rows, config(tie_break="lowest-variance"))
    assert isinstance(found, Pair)
    assert (found.chosen_id, found.rejected_id) == ("p-1", "p-2")


@given(
    scores=st.lists(st.none() | st.sampled_from([0.0, 1 / 3, 2.0, 4.5, 5.0]), max_size=6),
    texts=st.lists(st.sampled_from(["a", "a ", "bb", "ccc"]), min_size=6, max_size=6),
    finish=st.lists(st.sampled_from(["stop", "length"]), min_size=6, max_size=6),
    tie_break=st.sampled_from(["random", "shortest", "lowest-variance"]),
    gap=st.sampled_from([0.0, 0.5, 3.0]),
    exclude=st.booleans(),
)
def test_whatever_the_scores_a_pair_is_a_preference(
    scores: list[float | None],
    texts: list[str],
    finish: list[str],
    tie_break: str,
    gap: float,
    exclude: bool,
) -> None:
    """The chosen reply always scores higher, differs, and both competed; else there is a reason."""
    votes = [(Vote(text="", score=score, reason="ok"),) for score in scores]
    rows = candidates(*scores, text=texts, finish=finish, votes=votes)
    settings = config(tie_break=tie_break, min_score_gap=gap, exclude_truncated=exclude)
    found = pairing.pair(rows, settings)
    if not isinstance(found, Pair):
        assert found in pairing.DROPS
        return
    by_id = {row.id: row for row in rows}
    chosen, rejected = by_id[found.chosen_id], by_id[found.rejected_id]
    assert (chosen.score, rejected.score) == (found.chosen_score, found.rejected_score)
    assert found.chosen_score - found.rejected_score >= max(gap, 1e-9)
    assert found.chosen.strip() != found.rejected.strip()
    assert not exclude or chosen.finish == rejected.finish == "stop"
