"""Preparing questions: what is refused, what is counted, and what the rows look like."""

from autodidact_contract.records import Problem
from autodidact_worker.answers import questions
from support.questions import NUMBERS, question


def test_a_problem_is_prompt_and_target() -> None:
    """Language: question and trigger as published, the gold answer as the row has it."""
    made = questions.problem(question(answer="5.0"), NUMBERS)
    assert made.prompt == "Question:\nWhat is 2 + 3?\nAnswer reasoning:\n"
    assert made.target == "2 + 3 = 5\nTherefore, the answer is: 5.0"
    assert made.answer == "5.0"


def test_a_problem_without_reasoning_has_no_target() -> None:
    """Held-out rows need no chain of thought."""
    assert questions.problem(question(reasoning=" \n"), NUMBERS).target == ""


def problem(target: str = "gold") -> Problem:
    """A question with its own target."""
    return Problem(id="q", question="?", prompt="?", target=target, answer="5")


def test_self_taught_rows_are_the_first_different_texts() -> None:
    """Neither the gold text nor a text seen before is taught, and at most so many are."""
    texts = ["b", "gold", "a", "b", "c", "a"]
    made, different = questions.self_taught(problem(), texts, keep=2)
    assert [(row.id, row.target) for row in made] == [("q/0", "b"), ("q/1", "a")]
    assert different == 3
    assert {row.answer for row in made} == {"5"}
