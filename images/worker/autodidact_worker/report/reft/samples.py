"""Some test questions to look at, with the answers of several models."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autodidact_contract.artifacts import part_name
from autodidact_contract.records import AnswerSample
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import InputArtifact

SHOWN = 3
"""Sampled answers of a question that the browser shows beside the greedy one."""

_FATES = ("-+", "+-", "--", "++", "-", "+")
"""Right or wrong first answers of the models on a question, the most telling first."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A test question with the first answers of the models.

    Attributes:
        prompt: What the models continued.
        gold: The gold answer.
        answers: Answers by the title of their arm, the greedy one first.
    """

    prompt: str
    gold: str
    answers: tuple[tuple[str, tuple[AnswerSample, ...]], ...]


def browse(
    inputs: Mapping[str, InputArtifact], arms: Mapping[str, str], notes: list[str]
) -> tuple[Looked, ...]:
    """Returns test questions of the first part file, those first on which the models differ.

    Args:
        inputs: Finished stages by their name in the run's graph.
        arms: Title of each arm to show, by its name; two at most.
        notes: Takes what could not be read.
    """
    answers = {title: _answers(inputs, name, notes) for name, title in arms.items()}
    answers = {title: found for title, found in answers.items() if found}
    if not answers:
        return ()
    questions = next(iter(answers.values()))
    return tuple(
        _looked([(title, found[question]) for title, found in answers.items() if question in found])
        for question in _mixed(questions, _fate(answers))
    )


def _answers(
    inputs: Mapping[str, InputArtifact], arm: str, notes: list[str]
) -> dict[str, list[AnswerSample]]:
    """Returns the answers of the first part file by question, each question's in order."""
    name = f"sample-test-{arm}"
    if name not in inputs:
        return {}
    try:
        found = rows.read(inputs[name].path / part_name("samples", 0), AnswerSample, empty=True)
    except UserError as error:
        notes.append(f"{name}: {error}")
        return {}
    groups: dict[str, list[AnswerSample]] = {}
    for row in sorted(found, key=lambda row: row.index):
        groups.setdefault(row.question_id, []).append(row)
    return groups


def _fate(answers: Mapping[str, Mapping[str, list[AnswerSample]]]) -> Callable[[str], str]:
    """Returns a key of a question: which models' first answers to it are right."""
    return lambda question: "".join(
        "+" if question in found and found[question][0].correct else "-"
        for found in answers.values()
    )


def _mixed(questions: Iterable[str], fate: Callable[[str], str]) -> list[str]:
    """Returns questions of every fate in turns."""
    groups: dict[str, list[str]] = {}
    for question in questions:
        groups.setdefault(fate(question), []).append(question)
    order = sorted(groups, key=_FATES.index)
    longest = max((len(group) for group in groups.values()), default=0)
    return [
        groups[key][index] for index in range(longest) for key in order if index < len(groups[key])
    ]


def _looked(answers: list[tuple[str, list[AnswerSample]]]) -> Looked:
    first = answers[0][1][0]
    return Looked(
        prompt=first.prompt,
        gold=first.gold,
        answers=tuple((title, tuple(found[: SHOWN + 1])) for title, found in answers),
    )
