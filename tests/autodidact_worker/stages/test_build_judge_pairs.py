from collections.abc import Sequence
from typing import Any

import pytest

from autodidact_contract.records import JudgedJudgements, JudgementBattle, Pair, Vote
from autodidact_worker.judging import judgement
from support.disputes import TOY, battle, config, judged, put, read, vote


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
