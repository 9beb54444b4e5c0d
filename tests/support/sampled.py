"""Questions and sampled answers."""

from typing import Any

from autodidact_contract.records import AnswerSample, Problem
from autodidact_worker.runtime import rows


def problem(number: int, **changes: Any) -> Problem:
    """A question of a few letters."""
    text = "abcdefgh"[number % 8] * (number // 8 % 7 + 1)
    values = {"id": f"q-{number}", "question": text, "prompt": f"{text}:", "target": "gold"}
    return Problem(**{"answer": text} | values | changes)


def samples(bench: Any, done: Any, part: int = 0) -> list[AnswerSample]:
    """The rows of a part."""
    return rows.read(bench.fetch(done) / f"samples-{part:05d}.jsonl", AnswerSample)


def answer(number: int, index: int, text: str, *, correct: bool) -> AnswerSample:
    """A sample of a question."""
    return AnswerSample(
        id=f"q-{number}/{index}",
        question_id=f"q-{number}",
        prompt="",
        index=index,
        text=text,
        tokens=1,
        finish="stop",
        value=text,
        reason="ok",
        correct=correct,
        gold="",
    )
