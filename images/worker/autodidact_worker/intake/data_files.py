"""Finds the file of an imported data set, and checks its rows."""

from collections.abc import Sequence
from pathlib import Path

from autodidact_contract.base import Schema
from autodidact_contract.records import (
    Evaluation,
    Instruction,
    Question,
    RankedReplies,
    SeedPrompt,
)
from autodidact_worker.intake import model_configs, model_files
from autodidact_worker.intake.sources import Source
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError

SCHEMAS: dict[str, type[Schema]] = {
    "instructions": Instruction,
    "evaluations": Evaluation,
    "ranked": RankedReplies,
    "questions": Question,
    "prompts": SeedPrompt,
}
"""Row by content; conversation trees have two forms, see ``rows.read_conversations``."""


MAX_DATA = 1 << 30
"""Bytes of imported rows, which are held in memory to be checked."""

SHOWN = 5
"""Examples at most that an error names."""


def choose(source: Source, uri: str) -> str:
    """Returns the name of the one file that is the data set.

    Raises:
        UserError: ``InvalidSource``: it is none or several; ``InvalidData``: it is too large.
    """
    names = source.names()
    # Data sets of the hub have .json files that describe them.
    found = [name for name in names if name.endswith(".jsonl")]
    found = found or [name for name in names if name.endswith(".json")]
    if len(found) != 1:
        raise UserError(
            "InvalidSource",
            f"{uri} must be one .jsonl file, but there are {len(found)} (found: "
            f"{model_files.few(names)}); name the file in the uri; archives are not unpacked",
        )
    size = source.size(found[0])
    if size > MAX_DATA:
        raise UserError(
            "InvalidData",
            f"{model_files.shown(found[0])} has {size} bytes, more than the {MAX_DATA} that rows may "
            "have; give fewer rows",
        )
    return found[0]


def read(content: str, path: Path) -> Sequence[Schema]:
    """Returns the rows of a data set, each checked against its schema.

    Raises:
        UserError: ``InvalidData``: a row is none; ``DuplicateIds``: two questions have one id.
    """
    found: Sequence[Schema] = (
        rows.read_conversations(path) if content == "trees" else rows.read(path, SCHEMAS[content])
    )
    _check_ids(path.name, [row.id for row in found if isinstance(row, Question)])
    return found


def check_lines(path: Path) -> None:
    """Refuses lines that another parser could read differently, such as with a key twice."""
    for number, line in enumerate(rows.lines(path), 1):
        try:
            model_configs.parse_json(line.strip() or b"{}")
        except (ValueError, RecursionError) as error:
            raise UserError(
                "InvalidData",
                f"{path.name} line {number}: {str(error)[:200]}; write one JSON object a line, in "
                "UTF-8 without a byte order mark",
            ) from error


def _check_ids(name: str, ids: list[str]) -> None:
    """Refuses two questions with one id: answers, votes and noise are found by the id."""
    places: dict[str, list[int]] = {}
    for number, found in enumerate(ids, 1):
        places.setdefault(found, []).append(number)
    twice = {found: numbers for found, numbers in places.items() if len(numbers) > 1}
    if twice:
        shown = "; ".join(
            f"{found} in rows {', '.join(map(str, numbers[:SHOWN]))}"
            for found, numbers in list(twice.items())[:SHOWN]
        )
        raise UserError(
            "DuplicateIds",
            f"{name}: {len(twice)} ids are not unique: {shown}; give each question its own id",
        )
