"""Samples that a reranker learns from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autodidact_contract.records import AnswerSample
from autodidact_contract.stages.answers import Answers
from autodidact_worker.runtime.frame import Output

Train = Callable[..., tuple[Path, Output]]


def answer(question: int, index: int, text: str, value: str | None = None, **more: Any) -> Any:
    """A sample; right are those that end in an "a"."""
    fields = {
        "id": f"q{question}/{index}",
        "question_id": f"q{question}",
        "prompt": f"{question % 10}?",
        "index": index,
        "text": text,
        "tokens": len(text),
        "finish": "stop",
        "value": value,
        "reason": "ok",
        "correct": text.endswith("a"),
        "gold": "1",
    }
    return AnswerSample(**(fields | more))


def samples(questions: int, each: int = 4) -> list[AnswerSample]:
    """Samples of different lengths, half of them right, and a greedy one of each question."""
    found = []
    for question in range(questions):
        found.append(answer(question, -1, "greedy a", "1"))
        for index in range(each):
            text = "bcdxyz"[: 1 + (question + index) % 6] + "ab"[index % 2]
            found.append(answer(question, index, text, "12"[index % 2]))
    return found


RULES = Answers(rules="robust", kind="number")
