"""Stage ``judge-ranked`` on a random tiny model."""

from pathlib import Path
from typing import Any

from autodidact_contract.records import JudgedRanking
from autodidact_contract.stages.judging import JudgeRanked
from autodidact_worker.runtime import rows
from support.sampling_stages import SAMPLING, held_out


def config(**changes: Any) -> JudgeRanked:
    """Two judgements of each reply, by the toy's rubric."""
    values: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "attempts": 2,
        "allow_fractional": False,
        "sampling": SAMPLING,
    }
    return JudgeRanked(**values | changes)


def test_every_reply_of_a_ranking_is_judged(bench: Any, llama: Path) -> None:
    """Rankings keep their order, their ranks and their replies; each reply has its attempts."""
    given = held_out(70)  # two part files
    made = bench.run(config(), model=bench.put("import", llama), ranked=bench.put_rows(given))
    parts = rows.read_parts(bench.fetch(made), "judged", JudgedRanking)
    found = [row for _, part in parts for row in part]
    assert [(row.prompt, row.replies, row.ranks) for row in found] == [
        (row.prompt, row.replies, row.ranks) for row in given
    ]
    assert {len(votes) for row in found for votes in row.votes} == {2}
    counts = bench.result(made).counts
    assert counts["judgements"] == 70 * 3 * 2
    assert counts["skipped-too-long"] == 0


def test_a_reply_that_is_too_long_has_no_votes(bench: Any, llama: Path) -> None:
    """It keeps its place in the ranking and is counted."""
    row = held_out(1)[0].model_copy(update={"replies": ("a" * 5000, "aaaaa", "bbbbb")})
    made = bench.run(config(), model=bench.put("import", llama), ranked=bench.put_rows([row]))
    ((_, (found,)),) = rows.read_parts(bench.fetch(made), "judged", JudgedRanking)
    assert [len(votes) for votes in found.votes] == [0, 2, 2]
    assert bench.result(made).counts["skipped-too-long"] == 1
