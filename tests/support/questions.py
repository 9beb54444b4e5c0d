"""A question and how its answer is read, for tests of questions."""

from typing import Any

from autodidact_contract.records import Question
from autodidact_contract.stages.answers import Answers

NUMBERS = Answers(rules="robust", kind="number")


def question(number: int = 0, **changes: Any) -> Question:
    """A question whose answer is 5 + its number."""
    values = {
        "id": f"q-{number}",
        "question": f"What is 2 + {number + 3}?",
        "reasoning": f"2 + {number + 3} = {number + 5}",
        "answer": str(number + 5),
    }
    return Question(**values | changes)
