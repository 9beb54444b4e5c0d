"""Checks questions before anything is computed from them on a GPU.

Every check names the rows it is about, or counts them; none changes a row. What a message has no
room for is in the log.
"""

import logging
from collections.abc import Iterable, Sequence

from autodidact_contract.records import Problem, Question
from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import reading
from autodidact_worker.runtime.errors import UserError

log = logging.getLogger(__name__)

SHOWN = 5
"""Examples at most that an error or a warning names."""

_LINE = 50
"""Examples in a line of the log."""


def problem(row: Question, rules: Answers) -> Problem:
    """Returns a question as the model sees it; without reasoning there is no target."""
    reasoning = rules.reasoning
    told = reading.target(row.reasoning, row.answer, reasoning) if row.reasoning.strip() else ""
    return Problem(
        id=row.id,
        question=row.question,
        prompt=reading.prompt(row.question, reasoning),
        target=told,
        answer=row.answer,
        options=row.options,
    )


def check_answers(rows: Sequence[Question], rules: Answers) -> None:
    """Refuses gold answers that the rules cannot read, or that are none of their options.

    Raises:
        UserError: ``UnreadableAnswers``.
    """
    bad = {}
    for row in rows:
        read = reading.read_gold(row.answer, rules, row.options)
        known = {reading.read_gold(option, rules, row.options).value for option in row.options}
        if read.value is None or (rules.kind == "choice" and known and read.value not in known):
            bad[row.id] = f"{row.answer[:40]!r} ({read.reason if not read.value else 'no option'})"
    if bad:
        choices = " with their options" if rules.kind == "choice" else ""
        raise UserError(
            "UnreadableAnswers",
            f"{len(bad)} of {len(rows)} gold answers are no {rules.kind} by the rules "
            f"{rules.rules}: {named(bad)}; correct them{choices}, or set answers.kind and "
            "answers.rules to what they are",
        )


def check_reasoning(rows: Sequence[Question]) -> None:
    """Refuses training questions that do not show a way to their answer.

    Raises:
        UserError: ``MissingReasoning``.
    """
    bad = [row.id for row in rows if not row.reasoning.strip()]
    if bad:
        raise UserError(
            "MissingReasoning",
            f"{len(bad)} of {len(rows)} training questions have no reasoning: "
            f"{shown(bad)}; add it or leave them out",
        )


def check_lengths(lengths: dict[str, int], limit: int) -> None:
    """Refuses prompts that are too long.

    Args:
        lengths: Tokens of each question's prompt, by its id.
        limit: Tokens a prompt may have.

    Raises:
        UserError: ``PromptTooLong``.
    """
    bad = {name: f"{length} tokens" for name, length in lengths.items() if length > limit}
    if bad:
        raise UserError(
            "PromptTooLong",
            f"{len(bad)} of {len(lengths)} prompts have more than {limit} tokens: {named(bad)}; "
            "shorten the questions, leave them out, or raise maxQuestionTokens",
        )


def check_proofs(bad: dict[str, str], rows: int, rules: Answers) -> None:
    """Refuses training questions if the reasoning of none of them leads to its answer.

    Args:
        bad: What is wrong with a question's reasoning, by its id.
        rows: Number of all questions.
        rules: By which they were graded.

    Raises:
        UserError: ``UnprovenReasoning``.
    """
    if len(bad) == rows:
        raise UserError(
            "UnprovenReasoning",
            "no reasoning leads to its gold answer when it is read by the rules "
            f"{rules.rules}: {named(bad)}; correct the data, or set reasoning and answers to what "
            "it is",
        )


def seen(rows: Iterable[Problem], others: Iterable[Problem]) -> list[str]:
    """Returns the ids of the rows whose question is among the others, however spaced and cased."""
    known = {_normal(row.question) for row in others}
    return [row.id for row in rows if _normal(row.question) in known]


def repeated(rows: Iterable[Problem]) -> list[str]:
    """Returns the ids of the rows whose question came before, however spaced and cased."""
    known: set[str] = set()
    found = []
    for row in rows:
        text = _normal(row.question)
        if text in known:
            found.append(row.id)
        known.add(text)
    return found


def self_taught(gold: Problem, texts: Iterable[str], keep: int) -> tuple[list[Problem], int]:
    """Returns rows that teach a question's right samples, and how many texts were different.

    Args:
        gold: The question with its own target, which is not taught twice.
        texts: Right samples in the order of sampling.
        keep: Rows at most; the first ones, as the code published with arXiv 2401.08967 takes them
            (its section 4.3 says a random choice).
    """
    new = [text for text in dict.fromkeys(texts) if text != gold.target]
    made = [
        gold.model_copy(update={"id": f"{gold.id}/{number}", "target": text})
        for number, text in enumerate(new[:keep])
    ]
    return made, len(new)


def named(values: dict[str, str]) -> str:
    """Returns the first few of what was found, by id, and logs all of it."""
    return shown([f"{name}: {value}" for name, value in values.items()])


def shown(entries: Sequence[str]) -> str:
    """Returns the first few entries; logs all of them where there are more."""
    if len(entries) <= SHOWN:
        return ", ".join(entries)
    for start in range(0, len(entries), _LINE):
        log.warning("questions: %s", ", ".join(entries[start : start + _LINE]))
    return f"{', '.join(entries[:SHOWN])} and {len(entries) - SHOWN} more, which the log has"


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
