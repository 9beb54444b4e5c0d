"""Replies with the best score, as instructions."""

from typing import Any

import pytest

from autodidact_contract.records import Instruction, Judged
from autodidact_contract.stages.data import BuildPositives
from autodidact_worker.runtime import rows

CONFIG = BuildPositives(rubric="toy-copy-v1")


def judged(name: str, text: str, score: float | None, finish: str = "stop") -> Judged:
    """A reply to a prompt of that name."""
    return Judged(
        id=f"{name}-{text}",
        prompt_id=name,
        prompt=f"prompt {name}",
        text=text,
        finish=finish,
        votes=(),
        score=score,
    )


def build(bench: Any, *replies: Judged) -> tuple[list[Instruction], Any]:
    """Runs the stage; rows and artifact."""
    lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in replies)
    given = bench.run(CONFIG, judged=bench.put("judge", {"judged-00000.jsonl": lines}))
    path = bench.fetch(given) / rows.DATA
    return rows.read(path, Instruction, empty=True), bench.result(given)


def test_replies_with_the_best_score_become_instructions(bench: Any) -> None:
    """Exactly the rubric's best; cut and empty ones do not count, and each text counts once."""
    found, result = build(
        bench,
        judged("a", "best", 5),
        judged("a", "nearly", 14 / 3),
        judged("a", "best ", 5),
        judged("b", "best", 5),
        judged("b", "cut", 5, "length"),
        judged("b", " ", 5),
        judged("b", "unscored", None),
    )
    assert [(row.prompt, row.response) for row in found] == [
        ("prompt a", "best"),
        ("prompt b", "best"),
    ]
    assert result.counts == {
        "responses": 6,
        "positives": 2,
        "dropped-truncated": 1,
        "dropped-empty": 1,
        "dropped-identical": 1,
    }
    assert result.metrics == {"score": pytest.approx((5 * 5 + 14 / 3) / 6), "length": 4}


def test_no_positive_is_no_error(bench: Any) -> None:
    """The run's gate says what it means."""
    found, result = build(bench, judged("a", "good", 4))
    assert found == []
    assert result.counts["positives"] == 0
    assert result.metrics["length"] is None
