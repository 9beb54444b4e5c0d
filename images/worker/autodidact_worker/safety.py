"""What a model directory may hold. Checked before any library opens it.

Weights are safetensors only: reading any other format of weights can run code. The same holds for
``auto_map`` and its like, which name Python code to load. Names are on an allow-list, so whatever
is not known is not imported; the files that matter are looked into as far as it is cheap: JSON by
parsing, safetensors by their header. Nothing here imports torch or transformers.
"""

import itertools
import json
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodidact_contract.artifacts import check_file_name
from autodidact_worker.errors import UserError

WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
INDEX, CONFIG = "model.safetensors.index.json", "config.json"
CURVE = "training_log.jsonl"
"""Beside the models we train: one line a step, for the report."""

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
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

CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})

MAX_JSON = 64 << 20
MAX_HEADER = 100 << 20
"""Bytes of a safetensors header; the limit of its own library."""

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
    if not any(WEIGHTS.fullmatch(name) for name in taken):
        _refuse_weights(every)
    if CONFIG not in taken:
        raise _invalid(f"there is no {CONFIG} (found: {_few(every)})")
    if not set(TOKENIZERS) & set(taken):
        raise _invalid(f"there is no tokenizer; add one of {', '.join(TOKENIZERS)}")
    return Selection(taken=taken, ignored=tuple(n for n in every if n not in taken))


def check(folder: Path) -> None:
    """Returns if the directory is a model that may be opened.

    Raises:
        UserError: ``UnsafeModel`` or ``InvalidModel``, naming the file and the remedy.
    """
    if not folder.is_dir():
        raise _invalid(f"{folder.name} is not a directory of a model")
    for path in sorted(folder.iterdir()):
        _check_kind(path)
        if not _is_allowed(path.name):
            raise UserError("UnsafeModel", f"{path.name} is not a file a model may have; remove it")
    taken = select(path.name for path in folder.iterdir()).taken
    check_parts(folder, taken)
    for name in taken:
        if WEIGHTS.fullmatch(name):
            check_safetensors(folder / name)


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
        if name.endswith(".json"):
            check_json(folder / name)
    _check_index(folder, names)


def check_json(path: Path) -> Any:
    """Returns the value of a JSON file that names no code.

    Raises:
        UserError: ``UnsafeModel``: it names code. ``InvalidModel``: too large or broken.
    """
    size = path.stat().st_size
    if size > MAX_JSON:
        raise _invalid(f"{path.name} has {size} bytes, more than the {MAX_JSON} that JSON may have")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{path.name} is not JSON: {str(error)[:200]}") from error
    found = next((key for key in _keys(value) if key in CODE_KEYS), None)
    # In a vocabulary the keys are tokens, and any text may be a token.
    if found and path.name not in {"vocab.json", "added_tokens.json", "tokenizer.json"}:
        raise UserError(
            "UnsafeModel",
            f"{path.name} has {found}, which loads Python code from the model; only architectures "
            f"that transformers has itself are supported: remove {found} or choose another model",
        )
    return value


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
        raise _invalid(
            f"{name} is no complete safetensors file: it has {size} bytes and says its header has "
            f"{length}"
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
        header = json.loads(raw)
        tensors = {key: value for key, value in header.items() if key != "__metadata__"}
        spans = sorted(_span(key, tensor) for key, tensor in tensors.items())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _invalid(f"{name} has a broken header: {error!r:.200}") from error
    _check_spans(name, spans, size - 8 - len(raw))
    return len(spans)


def _is_allowed(name: str) -> bool:
    try:
        check_file_name(name)
    except ValueError:
        return False
    return name in ALLOWED or bool(WEIGHTS.fullmatch(name))


def _check_kind(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise UserError("UnsafeModel", f"{path.name} is not a plain file; links are not followed")


def _refuse_weights(names: list[str]) -> None:
    pickle = next((name for name in names if name.lower().endswith(PICKLES)), None)
    if pickle:
        raise UserError(
            "UnsafeModel",
            f"{pickle} may run code when it is opened and there are no safetensors; load the model "
            "where you trust it and save it again with model.save_pretrained(folder)",
        )
    raise _invalid(f"there are no weights (model.safetensors); found: {_few(names)}")


def _check_index(folder: Path, taken: Iterable[str]) -> None:
    present = {name for name in taken if WEIGHTS.fullmatch(name)}
    if INDEX not in taken:
        if present != {"model.safetensors"}:
            raise _invalid(f"there are shards of weights but no {INDEX}")
        return
    index = check_json(folder / INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, Mapping) or not shards:
        raise _invalid(f"{INDEX} has no weight_map")
    missing = sorted({str(shard) for shard in shards.values()} - present)
    if missing:
        raise _invalid(f"{INDEX} names {missing[0]}, which is missing; upload it")


def _keys(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _span(name: str, tensor: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor lies in the data, if that agrees with its type and shape."""
    start, end = (int(edge) for edge in tensor["data_offsets"])
    count = 1
    for dimension in tensor["shape"]:
        if not isinstance(dimension, int) or dimension < 0:
            raise ValueError(f"shape of {name}")
        count *= dimension
    if start < 0 or (end - start) * 8 != count * _bits(tensor["dtype"]):
        raise ValueError(f"offsets of {name} do not match its type and shape")
    return start, end


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
        raise _invalid(f"{name} has no tensors")
    edges = itertools.pairwise([(0, 0), *spans, (size, size)])
    for (_, end), (start, _) in edges:
        if start != end:
            problem = "overlap" if start < end else "leave a gap"
            raise _invalid(f"{name}: tensors {problem} at byte {min(start, end)} of {size}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"


def _invalid(message: str) -> UserError:
    return UserError("InvalidModel", f"not a model that can be imported: {message}")
