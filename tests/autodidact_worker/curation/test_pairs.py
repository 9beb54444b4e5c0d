from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodidact_contract.records import AnswerSample, Judged, Pair, Vote
from autodidact_contract.stages.data import BuildPairs
from autodidact_worker.curation import pairs


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
    assert pairs.pair(candidates(*scores), config()) == expected


@pytest.mark.parametrize(
    ("scores", "chosen", "rejected"),
    [((3.67, 3.33, 5, 2), 2, 3), ((5, None, 2, None), 0, 2), ((0, 0.5), 1, 0)],
)
def test_best_meets_worst(scores: Any, chosen: int, rejected: int) -> None:
    """The highest mean is chosen and the lowest rejected; unscored replies never compete."""
    found = pairs.pair(candidates(*scores), config())
    assert picked(found) == (scores[chosen], scores[rejected])
    assert isinstance(found, Pair)
    assert (found.chosen_id, found.rejected_id) == (f"p-{chosen}", f"p-{rejected}")


def test_ties_at_both_ends_are_drawn_with_the_seed() -> None:
    """The same seed draws the same pair, and over seeds every candidate is drawn."""
    rows = candidates(5, 5, 1, 1)
    drawn = [pairs.pair(rows, config(seed=seed)) for seed in range(40)]
    assert drawn == [pairs.pair(rows, config(seed=seed)) for seed in range(40)]
    ids = {(pair.chosen_id, pair.rejected_id) for pair in drawn if isinstance(pair, Pair)}
    assert ids == {("p-0", "p-2"), ("p-0", "p-3"), ("p-1", "p-2"), ("p-1", "p-3")}


def test_the_draw_does_not_depend_on_the_order_of_candidates() -> None:
    """A pair is a function of the replies, not of how they were listed."""
    rows = candidates(5, 5, 1, 1)
    assert pairs.pair(rows, config()) == pairs.pair(rows[::-1], config())


def test_identical_texts_are_no_pair() -> None:
    """Texts are compared without surrounding white space."""
    rows = candidates(5, 1, text=["same", " same\n"])
    assert pairs.pair(rows, config()) == "identical"


def test_a_reply_cut_by_length_does_not_compete_by_default() -> None:
    """The best reply was cut: the second best wins, unless truncated replies may compete."""
    rows = candidates(5, 4, 1, finish=["length", "stop", "stop"])
    assert picked(pairs.pair(rows, config())) == (4, 1)
    assert picked(pairs.pair(rows, config(exclude_truncated=False))) == (5, 1)


def test_too_few_complete_replies_are_counted_apart() -> None:
    """Scored, but all cut by length except one."""
    rows = candidates(5, 1, finish=["length", "stop"])
    assert pairs.pair(rows, config()) == "truncated"


def test_the_gap_must_reach_its_minimum() -> None:
    """A gap equal to the minimum is kept, a smaller one is not."""
    assert pairs.pair(candidates(5, 4.67), config(min_score_gap=0.5)) == "gap"
    assert picked(pairs.pair(candidates(5, 4.5), config(min_score_gap=0.5))) == (5, 4.5)


def test_shortest_breaks_ties_by_length() -> None:
    """The shortest of the best is chosen and the longest of the worst rejected."""
    rows = candidates(5, 5, 1, 1, text=["longer", "short", "bad", "worse text"])
    found = pairs.pair(rows, config(tie_break="shortest"))
    assert isinstance(found, Pair)
    assert (found.chosen, found.rejected) == ("short", "worse text")


def test_lowest_variance_breaks_ties_by_agreement() -> None:
    """Of equal means the one whose votes agree is taken at both ends."""

    def votes(*scores: float) -> tuple[Vote, ...]:
        return tuple(Vote(text="", score=score, reason="ok") for score in scores)

    rows = candidates(4, 4, 1, 1, votes=[votes(3, 5), votes(4, 4), votes(1, 1), votes(0, 2)])
    found = pairs.pair(rows, config(tie_break="lowest-variance"))
    assert isinstance(found, Pair)
    assert (found.chosen_id, found.rejected_id) == ("p-1", "p-2")


def test_no_votes_do_not_differ() -> None:
    """Replies that were scored without votes tie by variance, and the seed decides."""
    rows = candidates(4, 4, 1)
    found = pairs.pair(rows, config(tie_break="lowest-variance"))
    assert picked(found) == (4, 1)


# Scores from 2.0 to 4.67: rho 0.4 makes 3.602 the lowest of the top and 3.068 the highest of the
# bottom.
TIERS = candidates(
    *(4.67, 3.61, 3.6, 3.07, 3.06, 2.0),
    text=["w" * 9, "w" * 7, "w" * 2, "w" * 20, "w" * 12, "w" * 3],
)


@pytest.mark.parametrize(
    ("rho", "expected"),
    [(0.4, (3.61, 3.06)), (0.45, (3.6, 3.07)), (0.0, (4.67, 2.0)), (None, (4.67, 2.0))],
)
def test_length_control_takes_the_shortest_of_the_top_and_the_longest_of_the_bottom(
    rho: float | None, expected: tuple[float, float]
) -> None:
    """Tiers of a share of the score range; the score of the two is their own."""
    assert picked(pairs.pair(TIERS, config(rho=rho))) == expected


def test_a_score_on_the_bound_is_inside() -> None:
    """3.2 + 0.3 (0.2 - 3.2) is 2.3, whatever floating point makes of it; so is 1.1 below."""
    rows = candidates(3.2, 2.3, 1.1, 0.2, text=["wide", "in", "longest", "out"])
    assert picked(pairs.pair(rows, config(rho=0.3))) == (2.3, 1.1)


def test_no_length_control_is_the_plain_rule() -> None:
    """Rho 0 draws ties by the seed, as without it."""
    rows = candidates(5, 5, 1, 1, text=["longer", "short", "bad", "worse text"])
    for seed in range(20):
        assert pairs.pair(rows, config(seed=seed, rho=0.0)) == pairs.pair(rows, config(seed=seed))


def test_the_gap_is_that_of_the_two_that_were_taken() -> None:
    """Best and worst are 2.67 apart, the two that length control takes 0.55."""
    assert pairs.pair(TIERS, config(rho=0.4, min_score_gap=0.56)) == "gap"
    assert picked(pairs.pair(TIERS, config(rho=0.4, min_score_gap=0.5))) == (3.61, 3.06)


def test_tiers_that_meet_give_no_pair_of_equals() -> None:
    """With rho 0.5 the one in the middle is in both tiers; it is no pair with itself."""
    rows = candidates(4, 3, 2, text=["longer", "x", "yy"])
    assert picked(pairs.pair(rows, config(rho=0.5))) == (3, 2)
    rows = candidates(4, 3, 2, text=["longer", "xx", "y"])
    assert pairs.pair(rows, config(rho=0.5)) == "tie"


def test_a_long_reply_can_only_lose() -> None:
    """The best reply is too long; nobody wins where all are; a worst one loses all the same."""
    rows = candidates(5, 4, 1, text=["xxxxx", "xxx", "xxxxxx"])
    assert picked(pairs.pair(rows, config(max_chosen_length=5))) == (5, 1)
    assert picked(pairs.pair(rows, config(max_chosen_length=4))) == (4, 1)
    assert pairs.pair(rows, config(max_chosen_length=2)) == "too-long"
    rows = candidates(5, 1, text=["xxx", "x"])
    assert pairs.pair(rows, config(max_chosen_length=2)) == "tie"


@pytest.mark.parametrize(
    ("scores", "anchors", "expected"),
    [
        ((4, 3, 2), (1, 0.5), (4, "a-1")),
        ((4, 3, 2), (2, 5), (4, "p-2")),
        ((4, 3, 2), (None, None), (4, "p-2")),
        # A model that has improved: all its replies tie, and M1's lose.
        ((5, 5), (5, 3), (5, "a-1")),
        ((5,), (3,), (5, "a-0")),
        ((None, 4), (1, 2), (4, "a-0")),
    ],
)
def test_an_anchor_loses_if_it_is_below_all(
    scores: Any, anchors: Any, expected: tuple[float, str]
) -> None:
    """M1's worst reply takes the loser's place where it scores less than M(t)'s worst."""
    rows = [
        row.model_copy(update={"id": f"a-{i}", "text": f"M1's {i}"})
        for i, row in enumerate(candidates(*anchors))
    ]
    found = pairs.pair(candidates(*scores), config(), rows)
    assert isinstance(found, Pair)
    assert (found.chosen_score, found.rejected_id) == expected


@pytest.mark.parametrize(
    ("scores", "anchors", "expected"),
    [((5, 5), (5, None), "tie"), ((None,), (1, 2), "unscored"), ((), (1, 2), "unscored")],
)
def test_anchors_never_win(scores: Any, anchors: Any, expected: str) -> None:
    """Without a scored reply of M(t), or with none that is better than M1's, there is no pair."""
    assert pairs.pair(candidates(*scores), config(), candidates(*anchors)) == expected


def test_length_control_reaches_down_to_the_anchor() -> None:
    """M(t) 5 and 4, M1 1 and 2: with rho 0.3 the bottom ends at 2.2; the longer anchor loses."""
    rows = [
        row.model_copy(update={"id": f"a-{i}"})
        for i, row in enumerate(candidates(1, 2, text=["bad", "also bad"]))
    ]
    found = pairs.pair(candidates(5, 4), config(rho=0.3), rows)
    assert isinstance(found, Pair)
    assert (found.rejected_id, found.rejected_score) == ("a-1", 2)


def test_an_anchor_that_was_cut_does_not_compete() -> None:
    """The rule for replies cut by length holds for M1's as well."""
    rows = candidates(1, finish=["length"])
    assert pairs.pair(candidates(5, 5), config(), rows) == "tie"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((1, 2, 3), (0, 4, 5), 1.0),
        ((1, 2, 3), (5, 4, 0), 0.0),
        # One of three pairs reversed: tau 1/3.
        ((1, 2, 3), (2, 1, 3), 2 / 3),
        # Two pairs agree and one is tied in one ranking: tau-b 2 / sqrt(3 * 2).
        ((1, 2, 3), (1, 1, 2), (2 / 6**0.5 + 1) / 2),
        # The unscored reply leaves; the two others agree.
        ((1, 2, 3), (1, None, 2), 1.0),
        ((1, 2, 3), (4, 4, 4), None),
        ((1, 2, None), (1, None, 2), None),
        ((), (), None),
    ],
)
def test_agreement_of_two_judges(ours: Any, theirs: Any, expected: float | None) -> None:
    """(tau-b + 1) / 2 of the replies that both have scored, None where tau is undefined."""
    found = pairs.agreement(candidates(*ours), candidates(*theirs)[::-1])
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_sample_is_scored_by_its_answer() -> None:
    """Right is 1, wrong is 0, and so is what cannot be read; the prompt is the problem's."""
    sample = AnswerSample(
        id="q/0",
        question_id="q",
        prompt="Question: 1+1?",
        index=0,
        text="2",
        tokens=1,
        finish="length",
        value="2",
        reason="ok",
        correct=True,
        gold="2",
    )
    right = pairs.of_sample(sample)
    assert (right.score, right.prompt_id, right.prompt) == (1.0, "q", "Question: 1+1?")
    assert (right.text, right.finish) == ("2", "length")
    unread = sample.model_copy(update={"value": None, "reason": "no-trigger", "correct": False})
    assert pairs.of_sample(unread).score == 0.0


@given(
    scores=st.lists(st.none() | st.sampled_from([0.0, 1 / 3, 2.0, 4.5, 5.0]), max_size=6),
    texts=st.lists(st.sampled_from(["a", "a ", "bb", "ccc"]), min_size=6, max_size=6),
    finish=st.lists(st.sampled_from(["stop", "length"]), min_size=6, max_size=6),
    tie_break=st.sampled_from(["random", "shortest", "lowest-variance"]),
    gap=st.sampled_from([0.0, 0.5, 3.0]),
    exclude=st.booleans(),
    rho=st.sampled_from([None, 0.0, 0.3, 0.5]),
    limit=st.sampled_from([None, 1, 2]),
    anchor=st.none() | st.sampled_from([0.0, 1.0, 5.0]),
)
def test_whatever_the_scores_a_pair_is_a_preference(
    scores: list[float | None],
    texts: list[str],
    finish: list[str],
    tie_break: str,
    gap: float,
    exclude: bool,
    rho: float | None,
    limit: int | None,
    anchor: float | None,
) -> None:
    """The chosen reply always scores higher, differs, and both competed; else there is a reason."""
    votes = [(Vote(text="", score=score, reason="ok"),) for score in scores]
    rows = candidates(*scores, text=texts, finish=finish, votes=votes)
    settings = config(
        tie_break=tie_break,
        min_score_gap=gap,
        exclude_truncated=exclude,
        rho=rho,
        max_chosen_length=limit,
    )
    anchors = [row.model_copy(update={"id": f"a-{row.id}"}) for row in candidates(anchor)]
    found = pairs.pair(rows, settings, anchors)
    if not isinstance(found, Pair):
        assert found in pairs.DROPS
        return
    by_id = {row.id: row for row in [*rows, *anchors]}
    assert found.chosen_id.startswith("p-")
    assert limit is None or len(found.chosen) <= limit
    chosen, rejected = by_id[found.chosen_id], by_id[found.rejected_id]
    assert (chosen.score, rejected.score) == (found.chosen_score, found.rejected_score)
    assert found.chosen_score - found.rejected_score >= max(gap, 1e-9)
    assert found.chosen.strip() != found.rejected.strip()
    assert not exclude or chosen.finish == rejected.finish == "stop"
