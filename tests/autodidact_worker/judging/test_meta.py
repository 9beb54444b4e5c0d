"""The model as a judge of its own judgements: battles, ratings, pairs."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import Judged, JudgedJudgements, JudgementBattle, Pair, Vote
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_contract.stages.judging import MetaJudge
from autodidact_contract.task import Input
from autodidact_worker.generation import Completion, Generator
from autodidact_worker.judging import judgement, meta, rubrics
from autodidact_worker.runtime import rows

ADDITIVE, TOY = rubrics.get("additive-v1"), rubrics.get("toy-copy-v1")
META = MetaJudge(
    rubric="toy-copy-v1", sampling=Sampling(temperature=0.7, top_p=0.9, max_new_tokens=10)
)


def config(**changes: Any) -> BuildJudgePairs:
    """No cap is in the way."""
    values = {
        "rubric": "toy-copy-v1",
        "max_share": 0.5,
        "max_score_share": 1.0,
        "max_chosen_length": 100,
    }
    return BuildJudgePairs(**values | changes)


def vote(score: float | None, text: str = "") -> Vote:
    """A judgement."""
    reason = "ok" if score is not None else "no-score"
    return Vote(text=text or f"because={score}", score=score, reason=reason)


def judged(name: str, votes: Sequence[Vote], prompt: str = "p") -> Judged:
    """A reply with these judgements."""
    scores = [one.score for one in votes if one.score is not None]
    return Judged(
        id=name,
        prompt_id=prompt,
        prompt="Aabcde:",
        text="abcde",
        finish="stop",
        votes=tuple(votes),
        score=sum(scores) / len(scores) if scores else None,
    )


def battle(first: int, second: int, *verdicts: Any) -> JudgementBattle:
    """A battle with the verdicts of both orders."""
    return JudgementBattle(first=first, second=second, verdicts=verdicts)


# Which reply's judgements are compared.


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


# What is shown, and what is read.


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


# Positions.


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


# Ratings.


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


# Shares.


def test_a_score_has_its_share_at_most() -> None:
    """0.4 of ten are four; a group of three keeps all, and one is always left."""
    groups = {5.0: [f"a{i}" for i in range(7)], 4.0: ["b0", "b1", "b2"]}
    kept = meta.capped(groups, 0.4, 0)
    assert sum(name.startswith("a") for name in kept) == 4
    assert {"b0", "b1", "b2"} < kept
    assert kept != meta.capped(groups, 0.4, 1)
    assert meta.capped({5.0: ["x"], 4.0: ["y"]}, 0.1, 0) == {"x", "y"}


# The stages.


def put(bench: Any, kind: str, stem: str, values: Sequence[Any], part: int = 1000) -> Input:
    """Publishes rows in parts of so many, one at least."""
    files = {}
    for number in range(max(1, -(-len(values) // part))):
        chunk = values[number * part : (number + 1) * part]
        lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in chunk)
        files[f"{stem}-{number:05d}.jsonl"] = lines
    given: Input = bench.put(kind, files)
    return given


def read(bench: Any, given: Input, stem: str, schema: Any) -> list[Any]:
    """All rows of an artifact."""
    parts = rows.read_parts(bench.fetch(given), stem, schema)
    return [row for _, part in parts for row in part]


def disputed(count: int) -> list[Judged]:
    """Replies, one a prompt, with three judgements each."""
    votes = [vote(3, "yynny=3"), vote(4, "yyyyn=4"), vote(1, "nnnny=1")]
    return [judged(f"p{i}-0", votes, prompt=f"p{i}") for i in range(count)]


def test_judgements_are_compared_in_both_orders(
    bench: Any, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that always prefers what it is shown first is found out, and nobody wins by it."""
    shown: list[str] = []

    def generate(_: Any, requests: Sequence[Any], *__: Any) -> list[list[Completion]]:
        shown.extend(request.prompt for request in requests)
        return [[Completion(text="Verdict: A", tokens=3, finish="stop")] for _ in requests]

    monkeypatch.setattr(Generator, "generate", generate)
    monkeypatch.setattr(Generator, "fits", lambda *_: True)
    votes = [vote(4, "Good.\nScore: 4"), vote(2, "Bad.\nScore: 2"), vote(3, "Good.\nScore: 3")]
    additive = META.model_copy(update={"rubric": "additive-v1"})
    given = bench.run(
        additive,
        model=bench.put("import", llama),
        judged=put(bench, "judge", "judged", [judged("p-0", votes), judged("q-0", [], "q")]),
    )
    (row,) = read(bench, given, "battles", JudgedJudgements)
    assert row.battles == (
        battle(0, 1, "first", "second"),
        battle(0, 2, "tie", "tie"),  # the same but for their scores: not even shown
        battle(1, 2, "first", "second"),
    )
    assert len(shown) == 4
    assert "<judgement-a>Good.</judgement-a>\n\n<judgement-b>Bad." in shown[0]
    assert "<judgement-a>Bad.</judgement-a>\n\n<judgement-b>Good." in shown[1]
    result = bench.result(given)
    assert {name: n for name, n in result.counts.items() if n} == {
        "prompts": 2,
        "skipped-undisputed": 1,
        "battles": 3,
        "verdicts-first": 4,
        "verdicts-tie": 2,
    }
    assert result.metrics == {"firstPreferred": 1.0, "higherPreferred": 0.5}
    pairs = put(bench, "build-pairs", "pairs", [])
    built = bench.result(bench.run(config(rubric="additive-v1"), battles=given, pairs=pairs))
    assert (built.counts["pairs"], built.counts["dropped-tie"]) == (0, 1)


def test_shards_do_not_change_the_battles(new_bench: Callable[[str], Any], llama: Path) -> None:
    """One, two and four shards publish the same files, counts and means."""
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        given = bench.run(
            META,
            shards=shards,
            model=bench.put("import", llama),
            judged=put(bench, "judge", "judged", disputed(6), part=2),
        )
        result = bench.result(given)
        found.append((result.digest, result.counts, result.metrics))
    assert found[0] == found[1] == found[2]
    assert found[0][1]["battles"] == 18


def test_a_comparison_that_is_too_long_cannot_be_read(bench: Any, llama: Path) -> None:
    """It costs its own verdicts only, and is counted."""
    long = judged("q-0", [vote(1, "n=1"), vote(5, "y=5")], "q")
    rows_given = [*disputed(1), long.model_copy(update={"text": "a" * 3000})]
    given = bench.run(
        META,
        model=bench.put("import", llama),
        judged=put(bench, "judge", "judged", rows_given),
    )
    found = read(bench, given, "battles", JudgedJudgements)
    assert found[1].battles == (battle(0, 1, None, None),)
    assert None not in found[0].battles[0].verdicts
    counts = bench.result(given).counts
    assert (counts["skipped-too-long"], counts["verdicts-unreadable"]) == (2, 2)


def fought(name: str, *battles: JudgementBattle, votes: Sequence[Vote]) -> JudgedJudgements:
    """A reply whose judgements have met."""
    row = judged(name, votes, prompt=name)
    values = row.model_dump(exclude={"finish", "score"})
    return JudgedJudgements.model_validate({**values, "battles": battles})


def reply_pairs(count: int) -> list[Pair]:
    """Pairs of replies."""
    return [
        Pair(
            prompt_id=f"r{i}",
            prompt="x",
            chosen="a",
            rejected="b",
            chosen_id=f"r{i}-0",
            rejected_id=f"r{i}-1",
            chosen_score=2,
            rejected_score=1,
        )
        for i in range(count)
    ]


def test_best_and_worst_judgement_become_a_pair(bench: Any) -> None:
    """Its prompt is the judge's, its texts keep their scores, and its scores are the ratings."""
    votes = [vote(3, "yynny=3"), vote(5, "yyyyy=5"), vote(None, "?"), vote(1, "nnnny=1")]
    row = fought(
        "p",
        battle(0, 1, "second", "second"),
        battle(0, 3, "first", "first"),
        battle(1, 3, "first", "first"),
        votes=votes,
    )
    battles = put(bench, "meta-judge", "battles", [row])
    pairs = put(bench, "build-pairs", "pairs", reply_pairs(3))
    given = bench.run(config(), battles=battles, pairs=pairs)
    (pair,) = read(bench, given, "pairs", Pair)
    assert pair.prompt == judgement.render(TOY, "Aabcde:", "abcde") == "JAabcde:|abcde:"
    assert (pair.chosen, pair.rejected) == ("yyyyy=5", "nnnny=1")
    assert (pair.chosen_id, pair.rejected_id) == ("p/1", "p/3")
    assert pair.chosen_score == pytest.approx(1.8105, abs=1e-3)
    assert pair.rejected_score == pytest.approx(-1.8105, abs=1e-3)
    assert pair.consistency == 1.0
    metrics = bench.result(given).metrics
    assert metrics["chosenScore"] == 5
    assert metrics["firstWeight"] == 0.5


def test_every_pair_that_is_dropped_has_its_reason(bench: Any) -> None:
    """Twelve prompts: tied, identical, too long; of nine 4 of one score stay; then 3 of all."""
    won = battle(0, 1, "first", "first")
    given = [
        fought("tied", battle(0, 1, "tie", None), votes=[vote(3, "a=3"), vote(4, "b=4")]),
        fought("same", won, votes=[vote(3, "a=3"), vote(4, " a=3")]),
        fought("long", won, votes=[vote(3, "a" * 101), vote(4, "b=4")]),
        *(fought(f"five{i}", won, votes=[vote(5, "a=5"), vote(4, "b=4")]) for i in range(7)),
        *(fought(f"one{i}", won, votes=[vote(1, "a=1"), vote(4, "b=4")]) for i in range(2)),
    ]
    battles = put(bench, "meta-judge", "battles", given)
    pairs = put(bench, "build-pairs", "pairs", reply_pairs(9))
    built = bench.run(config(max_score_share=0.45, max_share=0.25), battles=battles, pairs=pairs)
    counts = bench.result(built).counts
    assert counts == {
        "prompts": 12,
        "reply-pairs": 9,
        "pairs": 3,  # a quarter of 9 and 3
        "dropped-tie": 1,
        "dropped-identical": 1,
        "dropped-too-long": 1,
        "dropped-score-share": 3,  # 0.45 of nine are four
        "dropped-share": 3,
    }
    assert len(read(bench, built, "pairs", Pair)) == 3
