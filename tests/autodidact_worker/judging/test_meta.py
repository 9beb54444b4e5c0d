"""The model as a judge of its own judgements: battles, ratings, pairs."""

import math

import pytest

from autodidact_contract.records import Vote
from autodidact_worker.judging import meta
from support.disputes import ADDITIVE, TOY, battle, judged, vote


def test_the_most_disputed_reply_is_taken() -> None:
    """Variances 0.25, 4 and 1: the second."""
    replies = [
        judged("a", [vote(3), vote(4)]),
        judged("b", [vote(1), vote(5)]),
        judged("c", [vote(2), vote(4)]),
    ]
    found = meta.most_disputed(replies, 0)
    assert found is not None
    assert found.id == "b"


def test_equal_variances_go_to_the_seed() -> None:
    """Over seeds each of them is drawn, and the order of the replies does not matter."""
    replies = [judged(name, [vote(1), vote(2)]) for name in "abc"]
    drawn = [meta.most_disputed(replies, seed) for seed in range(30)]
    assert drawn == [meta.most_disputed(replies[::-1], seed) for seed in range(30)]
    assert {row.id for row in drawn if row} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "votes", [[], [vote(3)], [vote(3), vote(None)], [vote(4), vote(4), vote(None)]]
)
def test_nothing_to_compare(votes: list[Vote]) -> None:
    """Fewer than two readable votes, or equal ones, are no dispute."""
    assert meta.most_disputed([judged("a", votes)], 0) is None


def test_readable_votes_meet_two_by_two() -> None:
    """Of four votes with one unreadable, three meetings."""
    row = judged("a", [vote(3), vote(None), vote(4), vote(5)])
    assert meta.meetings(row) == [(0, 2), (0, 3), (2, 3)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Good and short.\nScore: 4", "Good and short."),
        ("**Score:** 3/5\nIt is\nfine. \n\nFinal score: 3", "**\nIt is\nfine.\n\nFinal"),
        ("The score is hard to give.\nScore: 4 out of 5", "The score is hard to give."),
        ("No line of that form", "No line of that form"),
    ],
)
def test_scores_are_hidden(text: str, shown: str) -> None:
    """Every line that reads as a score loses it; what is said in words stays."""
    assert meta.without_score(ADDITIVE, text) == shown


def test_the_toy_hides_its_score() -> None:
    """The marks stay."""
    assert meta.without_score(TOY, "yynny=3") == "yynny"


def test_the_question_shows_both_judgements_in_their_order() -> None:
    """Prompt, reply and the two judgements are in it, and braces in them mean nothing."""
    row = judged("a", []).model_copy(update={"text": "{b}"})
    text = meta.render(ADDITIVE, row, "one {a}", "two")
    assert "<judgement-a>one {a}</judgement-a>" in text
    assert "<judgement-b>two</judgement-b>" in text
    assert "<response>{b}</response>" in text
    assert "User: Aabcde:" in text


@pytest.mark.parametrize(
    ("answer", "swapped", "winner"),
    [
        ("Verdict: A", False, "first"),
        ("Verdict: B", False, "second"),
        ("Verdict: A", True, "second"),
        ("Verdict: judgement B", True, "first"),
        ("Verdict: Judgment A", False, "first"),
        ("Verdict: tie", True, "tie"),
        ("I cannot tell", False, None),
    ],
)
def test_a_verdict_is_of_judgements_not_of_positions(
    answer: str, swapped: bool, winner: str | None
) -> None:
    """Shown the other way round, A is the second judgement."""
    assert meta.read(ADDITIVE, answer, "x", "y", swapped=swapped) == winner


@pytest.mark.parametrize("swapped", [False, True])
def test_the_toy_prefers_what_agrees_with_its_own_marks(swapped: bool) -> None:
    """It writes yynny: four marks of the first judgement agree, three of the second."""
    assert meta.read(TOY, "yynny=3", "yynnn", "yyyyn", swapped=swapped) == "first"
    assert meta.read(TOY, "yynny=3", "yyyyn", "yynnn", swapped=swapped) == "second"
    assert meta.read(TOY, "yynny=3", "yyynn", "yynyn", swapped=swapped) == "tie"


def test_wins_are_counted_by_position() -> None:
    """The reverse order shows the second judgement first."""
    battles = [
        battle(0, 1, "first", "first"),  # won in the first position, then in the second
        battle(0, 2, "second", "second"),  # in the second, then in the first
        battle(1, 2, "first", "second"),  # twice in the first: only the position decided
        battle(0, 3, "tie", None),
    ]
    assert meta.position_wins(battles) == (4, 2)


@pytest.mark.parametrize(
    ("wins", "expected"), [((4, 2), (1 / 3, 2 / 3)), ((3, 0), (0, 1)), ((0, 0), (0.5, 0.5))]
)
def test_a_win_in_the_favoured_position_weighs_less(
    wins: tuple[int, int], expected: tuple[float, float]
) -> None:
    """W1 is the share of wins in the second position, and the other way round."""
    assert meta.weights(wins) == pytest.approx(expected)


def test_two_judgements_are_rated_by_the_odds() -> None:
    """Won 1/3 + 2/3 to nothing: with 0.1 on both sides the odds are 1.1 to 0.1."""
    found = meta.ratings([battle(0, 1, "first", "first")], (1 / 3, 2 / 3))
    assert found[0] - found[1] == pytest.approx(math.log(11), abs=1e-5)
    assert found[0] + found[1] == pytest.approx(0)


def test_a_split_battle_is_decided_by_the_weights() -> None:
    """Who is shown first wins: 1/3 each, and nobody is better. Who is shown second: the same."""
    for verdicts in (("first", "second"), ("second", "first")):
        found = meta.ratings([battle(0, 1, *verdicts)], (1 / 3, 2 / 3))
        assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_one_verdict_of_two() -> None:
    """Won 2/3 in the second position, tied in the first: odds 0.1 + 2/3 to 0.1."""
    found = meta.ratings([battle(0, 2, "tie", "first")], (1 / 3, 2 / 3))
    assert found[0] - found[2] == pytest.approx(math.log(23 / 3), abs=1e-5)


def test_three_judgements_in_a_row() -> None:
    """0 beats 1 and 2, 1 beats 2, always: x, 0, -x with sigmoid(x) + sigmoid(2x) = 2.2 / 1.2."""
    battles = [battle(m, n, "first", "first") for m, n in ((0, 1), (0, 2), (1, 2))]
    found = meta.ratings(battles, (0.5, 0.5))
    assert found[0] == pytest.approx(1.8105, abs=1e-3)
    assert found[1] == pytest.approx(0, abs=1e-5)
    x = found[0]
    assert 1 / (1 + math.exp(-x)) + 1 / (1 + math.exp(-2 * x)) == pytest.approx(11 / 6, abs=1e-6)


def test_a_circle_has_no_best_one() -> None:
    """0 beats 1, 1 beats 2, 2 beats 0."""
    battles = [
        battle(0, 1, "first", "first"),
        battle(1, 2, "first", "first"),
        battle(0, 2, "second", "second"),
    ]
    found = meta.ratings(battles, (0.5, 0.5))
    assert meta.best_and_worst(found, lambda vote: bytes([vote])) is None


def test_equal_ratings_are_drawn() -> None:
    """Best are 1 and 3, worst are 0 and 2."""
    found = {0: -1.0, 1: 1.0, 2: -1.0, 3: 1.0}
    assert meta.best_and_worst(found, lambda vote: bytes([vote])) == (1, 0)
    assert meta.best_and_worst(found, lambda vote: bytes([9 - vote])) == (3, 2)


def test_a_score_has_its_share_at_most() -> None:
    """0.4 of ten are four; a group of three keeps all, and one is always left."""
    groups = {5.0: [f"a{i}" for i in range(7)], 4.0: ["b0", "b1", "b2"]}
    kept = meta.capped(groups, 0.4, 0)
    assert sum(name.startswith("a") for name in kept) == 4
    assert {"b0", "b1", "b2"} < kept
    assert kept != meta.capped(groups, 0.4, 1)
    assert meta.capped({5.0: ["x"], 4.0: ["y"]}, 0.1, 0) == {"x", "y"}
