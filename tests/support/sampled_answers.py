"""Answers to a question, as short as a test can say them."""

from autodidact_contract.records import AnswerSample
from autodidact_contract.stages.answers import Answers

NUMBERS = Answers(rules="robust", kind="number")


def answers(
    *values: str | None, greedy: str | None = "-", gold: str = "5", name: str = "q"
) -> list[AnswerSample]:
    """Answers to a question; without a greedy one if that is "-"."""
    numbered = list(enumerate(values)) if greedy == "-" else list(enumerate((greedy, *values), -1))
    return [
        AnswerSample(
            id=f"{name}/{index}",
            question_id=name,
            prompt="",
            index=index,
            text=str(value),
            tokens=1,
            finish="stop",
            value=value,
            reason="ok" if value else "no-trigger",
            correct=value == gold,
            gold=gold,
        )
        for index, value in numbered
    ]
