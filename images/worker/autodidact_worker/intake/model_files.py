"""Checks what a model directory holds, before any library opens it.

Weights are safetensors only: reading any other format of weights can run code. The same holds for
``auto_map`` and its like, which name Python code to load. Names are on an allow-list, so whatever
is not known is not imported; the files that matter are looked into as far as it is cheap: JSON by
parsing (``model_configs``), safetensors by their header. Nothing here imports torch or transformers, and
all of it takes bounded memory and time, whatever the files hold.
"""

import itertools
import math
import re
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodidact_contract.artifacts import check_file_name
from autodidact_worker.intake import model_configs
from autodidact_worker.intake.model_configs import CONFIG, TOKENIZER, invalid
from autodidact_worker.runtime.errors import UserError

WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
INDEX = "model.safetensors.index.json"
CURVE = "training_log.jsonl"
"""Beside the models we train: one line a step, for the report."""

TOKENIZERS = (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt")
"""One of these is enough for a tokenizer."""

ALLOWED = frozenset(
    {
        INDEX,
        CONFIG,
        CURVE,
        *TOKENIZERS,
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
    }
)
"""Names besides weights; what a text model that transformers saved can need."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npz", ".npy", ".msgpack")
"""Endings of weights in formats that may run code, or that only such tools write."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")

MAX_SMALL = 64 << 20
"""Bytes of any file but weights: twice the largest tokenizer there is (Gemma 3)."""

MAX_BYTES = {
    CONFIG: 1 << 20,
    "generation_config.json": 1 << 20,
    "special_tokens_map.json": 1 << 20,
    "chat_template.json": 1 << 20,
    "chat_template.jinja": 1 << 20,
    "tokenizer_config.json": 16 << 20,
}

MAX_HEADER = 100 << 20
"""Bytes of a safetensors header; the limit of its own library."""

MAX_DIMENSIONS = 16

_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}
"""Widths of the types whose names do not end in their bits."""

_NAME_BITS = re.compile(r"[A-Z]+(\d+)(_\w+)?")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which files of a directory are imported, and which are left behind."""

    taken: tuple[str, ...]
    ignored: tuple[str, ...]


def select(names: Iterable[str]) -> Selection:
    """Returns the files of a model that may be imported.

    Args:
        names: Names of all its files, relative to its directory.

    Raises:
        UserError: ``UnsafeModel``: its only weights may run code. ``InvalidModel``: it has no
            weights, no config or no tokenizer.
    """
    every = sorted(names)
    taken = tuple(name for name in every if _is_allowed(name))
    if not any(is_weights(name) for name in taken):
        _refuse_weights(every)
    if CONFIG not in taken:
        raise invalid(f"there is no {CONFIG} (found: {few(every)})")
    if not set(TOKENIZERS) & set(taken):
        raise invalid(f"there is no tokenizer; add one of {', '.join(TOKENIZERS)}")
    return Selection(taken=taken, ignored=tuple(n for n in every if n not in taken))


def check(folder: Path) -> None:
    """Returns if the directory is a model that may be opened.

    Raises:
        UserError: ``UnsafeModel`` or ``InvalidModel``, naming the file and the remedy.
    """
    if not folder.is_dir():
        raise invalid(f"{folder.name} is not a directory of a model")
    for path in sorted(folder.iterdir()):
        _check_kind(path)
        if not _is_allowed(path.name):
            raise UserError(
                "UnsafeModel", f"{shown(path.name)} is not a file a model may have; remove it"
            )
    taken = select(path.name for path in folder.iterdir()).taken
    check_parts(folder, taken)
    for name in taken:
        if is_weights(name):
            check_safetensors(folder / name)


def is_weights(name: str) -> bool:
    """Returns whether a file of that name holds weights."""
    return bool(WEIGHTS.fullmatch(name))


def check_size(name: str, size: int) -> None:
    """Returns if a file is not too large to be looked into; weights may have any size.

    Args:
        name: Of the file.
        size: In bytes.

    Raises:
        UserError: ``InvalidModel``: it is.
    """
    limit = MAX_BYTES.get(name, MAX_SMALL)
    if size > limit and not is_weights(name):
        raise invalid(
            f"{name} has {size} bytes, more than the {limit} it may have; save the model again "
            "with save_pretrained(folder)"
        )


def check_parts(folder: Path, taken: Iterable[str]) -> None:
    """Returns if the small files of a model are harmless and its index has all its shards.

    Args:
        folder: Where at least the JSON files are.
        taken: Names of all files of the model.

    Raises:
        UserError: ``UnsafeModel`` or ``InvalidModel``.
    """
    names = sorted(taken)
    for name in names:
        if not is_weights(name):
            check_size(name, (folder / name).stat().st_size)
        if name.endswith(".json"):
            model_configs.check(folder / name)
    _check_index(folder, names)


def check_safetensors(path: Path) -> int:
    """Returns the number of tensors of a file whose header describes it exactly.

    Raises:
        UserError: ``InvalidModel``: the header is broken, too large, or its tensors do not fill
            the file without gap and overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(header_length(path.name, file.read(8), size))
    return check_header(path.name, raw, size)


def header_length(name: str, first: bytes, size: int) -> int:
    """Returns the number of bytes of a safetensors header, which begins after the first eight.

    Args:
        name: Of the file, for errors.
        first: Its first eight bytes.
        size: Its size in bytes.

    Raises:
        UserError: ``InvalidModel``: no file can be that short, or no header that long.
    """
    length: int = struct.unpack("<Q", first.ljust(8, b"\xff"))[0]
    if length > min(MAX_HEADER, size - 8):
        raise invalid(
            f"{name} is no complete safetensors file: it has {size} bytes and says its header has "
            f"{length}; upload it again"
        )
    return length


def check_header(name: str, raw: bytes, size: int) -> int:
    """Returns the number of tensors if a safetensors header describes its file exactly.

    Args:
        name: Of the file, for errors.
        raw: The header.
        size: Of the whole file in bytes.

    Raises:
        UserError: ``InvalidModel``: see ``check_safetensors``.
    """
    try:
        header = model_configs.parse_json(raw)
        tensors = {key: value for key, value in header.items() if key != "__metadata__"}
        spans = sorted(_span(key, tensor) for key, tensor in tensors.items())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise invalid(
            f"{name} has a broken header: {error!r:.200}; save the model again with "
            "save_pretrained(folder)"
        ) from error
    _check_spans(name, spans, size - 8 - len(raw))
    return len(spans)


def _is_allowed(name: str) -> bool:
    try:
        check_file_name(name)
    except ValueError:
        return False
    return name in ALLOWED or is_weights(name)


def _check_kind(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise UserError(
            "UnsafeModel",
            f"{shown(path.name)} is not a plain file; links are not followed: put the file itself "
            "there",
        )


def _refuse_weights(names: list[str]) -> None:
    pickle = next((name for name in names if name.lower().endswith(PICKLES)), None)
    if pickle:
        raise UserError(
            "UnsafeModel",
            f"{shown(pickle)} may run code when it is opened and there are no safetensors; load "
            "the model where you trust it and save it again with model.save_pretrained(folder)",
        )
    archive = next((name for name in names if name.lower().endswith(ARCHIVES)), None)
    if archive:
        raise UserError(
            "UnsafeModel",
            f"{shown(archive)} is an archive, and archives are not unpacked; unpack it where you "
            "trust it and import the folder",
        )
    raise invalid(f"there are no weights (model.safetensors); found: {few(names)}")


def _check_index(folder: Path, taken: Iterable[str]) -> None:
    present = {name for name in taken if is_weights(name)}
    if INDEX not in taken:
        if present != {"model.safetensors"}:
            raise invalid(f"there are shards of weights but no {INDEX}")
        return
    index = model_configs.check(folder / INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, Mapping) or not shards:
        raise invalid(f"{INDEX} has no weight_map")
    named = {str(shard)[:200] for shard in shards.values()}
    foreign = sorted(name for name in named if not is_weights(name))
    if foreign:
        raise UserError(
            "UnsafeModel",
            f"{INDEX} names {shown(foreign[0])}, which is no file of weights in its folder; save "
            "the model again with save_pretrained(folder)",
        )
    missing = sorted(named - present)
    if missing:
        raise invalid(f"{INDEX} names {missing[0]}, which is missing; upload it")


def _span(name: str, tensor: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor lies in the data, if that agrees with its type and shape."""
    start, end = (int(edge) for edge in tensor["data_offsets"])
    shape = tensor["shape"]
    if len(shape) > MAX_DIMENSIONS or not all(_is_dimension(n) for n in shape):
        raise ValueError(f"shape of {name}")
    count = math.prod(shape)
    if start < 0 or (end - start) * 8 != count * _bits(tensor["dtype"]):
        raise ValueError(f"offsets of {name} do not match its type and shape")
    return start, end


def _is_dimension(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def _bits(dtype: str) -> int:
    if dtype == "BOOL":
        return 8
    if dtype in _BITS:
        return _BITS[dtype]
    match = _NAME_BITS.fullmatch(dtype)
    if not match:
        raise ValueError(f"type {dtype!r}")
    return int(match[1])


def _check_spans(name: str, spans: list[tuple[int, int]], size: int) -> None:
    if not spans:
        raise invalid(f"{name} has no tensors")
    edges = itertools.pairwise([(0, 0), *spans, (size, size)])
    for (_, end), (start, _) in edges:
        if start != end:
            problem = "overlap" if start < end else "leave a gap"
            raise invalid(
                f"{name}: tensors {problem} at byte {min(start, end)} of {size}; upload it again"
            )


def shown(name: str) -> str:
    """Returns a name as an error shows it: in quotes and escaped if it is not what it looks."""
    return name if name.isascii() and name.isprintable() else ascii(name)


def few(names: Sequence[str]) -> str:
    """Returns the first of these names as an error shows them."""
    first = [shown(name) for name in names[:5]]
    return ", ".join([*first, "..."] if len(names) > 5 else first) or "nothing"
