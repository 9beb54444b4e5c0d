"""Rows in files: JSON Lines, one canonical object a line, so that equal rows are equal bytes."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from autodidact_contract.artifacts import PART_ITEMS, part_name, shard_parts
from autodidact_contract.base import Schema, canonical_json
from autodidact_contract.records import Conversation, Message
from autodidact_worker.runtime.errors import UserError

DATA = "rows.jsonl"
"""The one file of an imported data artifact."""

MAX_LINE = 16 << 20
"""Bytes of a row, far more than prompts and replies have."""

_Row = TypeVar("_Row", bound=Schema)


def text_id(text: str) -> str:
    """Returns the id of a prompt: the first 16 hexadecimal digits of the sha256 of its UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(path: Path, rows: Iterable[Schema]) -> int:
    """Writes rows to a new file and returns how many there were."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            # Not dump(): a reply without a score says so, "score" is never missing from its row.
            file.write(canonical_json(row.model_dump(mode="json", by_alias=True)) + b"\n")
            count += 1
    return count


def read(path: Path, schema: type[_Row], *, empty: bool = False) -> list[_Row]:
    """Returns the rows of a file, each validated; blank lines are skipped.

    Args:
        path: A JSON Lines file.
        schema: What each row must be.
        empty: Whether a file without rows is fine, as it is for parts whose items were skipped.

    Raises:
        UserError: ``InvalidData``, naming file and line.
    """
    rows = []
    # Lines end at "\n" only: str.splitlines would also cut at separators inside JSON strings.
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            rows.append(_row(path, number, line, schema))
    if not rows and not empty:
        raise UserError("InvalidData", f"{path.name} has no rows; give at least one")
    return rows


def read_conversations(path: Path) -> list[Message | Conversation]:
    """Returns the rows of a file of conversation trees, or of single messages.

    Raises:
        UserError: ``InvalidData``, naming file and line.
    """
    first = next((line for line in lines(path) if line.strip()), b"{}")
    try:
        is_tree = "prompt" in json.loads(first)
    except (ValueError, TypeError, RecursionError):  # the rows' own check says what is wrong
        is_tree = False
    return [*read(path, Conversation)] if is_tree else [*read(path, Message)]


def parts(folder: Path, stem: str) -> int:
    """Returns the number of part files of an artifact.

    Raises:
        UserError: ``InvalidData``: there is none, or one is missing in between.
    """
    found = {file.name for file in folder.glob(f"{stem}-*.jsonl")}
    wanted = {part_name(stem, part) for part in range(len(found))}
    if not found or found != wanted:
        missing = sorted(wanted - found)[:1] or [part_name(stem, 0)]
        raise UserError("InvalidData", f"{folder.name} lacks {missing[0]}; publish it again")
    return len(found)


def read_parts(
    folder: Path, stem: str, schema: type[_Row], shard: int = 0, shards: int = 1
) -> Iterator[tuple[int, list[_Row]]]:
    """Yields the number and the rows of each part file that a shard owns, in order."""
    for part in shard_parts(parts(folder, stem) * PART_ITEMS, shard, shards):
        yield part, read(folder / part_name(stem, part), schema, empty=True)


def write_parts(folder: Path, stem: str, rows: Sequence[Schema]) -> None:
    """Writes rows as part files of ``PART_ITEMS`` each; at least one file, even if it is empty."""
    for part in range(max(1, -(-len(rows) // PART_ITEMS))):
        write(folder / part_name(stem, part), chunk(rows, part))


def chunk(rows: Sequence[_Row], part: int) -> list[_Row]:
    """Returns the rows of one part of a list that is not stored in parts."""
    return list(rows[part * PART_ITEMS : (part + 1) * PART_ITEMS])


def lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file.

    Raises:
        UserError: ``InvalidData``: there is no file, or a line is too long to be a row.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise UserError(
                        "InvalidData",
                        f"{path.name} line {number}: it has more than {MAX_LINE} bytes; write one "
                        "JSON object a line, and shorter ones",
                    )
                yield line
    except FileNotFoundError as error:
        raise UserError("InvalidData", f"{path.name} is missing from its artifact") from error


def _row(path: Path, number: int, line: bytes, schema: type[_Row]) -> _Row:
    try:
        return schema.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise UserError(
            "InvalidData",
            f"{path.name} line {number}: {where}: {first['msg']}; "
            f"a {schema.__name__} row has the columns {', '.join(_columns(schema))}",
        ) from error


def _columns(schema: type[Schema]) -> list[str]:
    return [field.alias or name for name, field in schema.model_fields.items()]
