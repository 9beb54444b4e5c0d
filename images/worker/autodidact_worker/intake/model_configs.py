"""Checks the JSON files of a model: no code, no absurd sizes, no patterns that never end.

Names are the business of ``model_files``. Nothing here imports torch, transformers or tokenizers.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autodidact_worker.runtime.errors import UserError

CONFIG, TOKENIZER = "config.json", "tokenizer.json"

CODE_KEYS = frozenset({"auto_map", "custom_generate", "custom_pipelines", "trust_remote_code"})
_VOCABULARIES = frozenset({"vocab.json", "added_tokens.json", TOKENIZER})
"""Their keys are tokens, and any text may be a token."""

MAX_VALUES = 1 << 22
"""Commas and opening brackets of a JSON text, so that parsed it takes less than 1 GB; twice what
Gemma 3's tokenizer has."""

_MAX_DIGITS = 100
_MAX_GROWTH = 1000
_MAX_PATTERN = 1 << 14
_COUNTS = re.compile(r"(num|n)_\w*(layer|block|head)\w*|\w+_(layers|heads)")
_EXPERTS = re.compile(r"(num|n)_\w*expert\w*")
_SIZES = re.compile(r"\w*(size|dim|length|positions|embeddings)|[nd]_(embd|inner|ctx|model|ff)")
_RANGES = ((_COUNTS, 0, 4096), (_EXPERTS, 0, 1 << 14), (_SIZES, -1, 1 << 24))
"""Least and largest values by names in configs, beyond the defaults of all that transformers has.

What is counted becomes so many modules before any weight is looked at; a size becomes memory where
the weights lack the tensor, and may be -1 where there is none.
"""


def check(path: Path) -> Any:
    """Returns the value of a model's JSON file without code, absurd sizes and endless patterns.

    Raises:
        UserError: ``UnsafeModel`` or ``InvalidModel``: it has some, or is broken.
    """
    name = path.name
    try:
        value = parse_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise invalid(f"{name} is not JSON: {str(error)[:200]}; save it again") from error
    if name == TOKENIZER:
        _check_patterns(name, value)
    if name not in _VOCABULARIES:
        _check_code(name, value)
    if name == CONFIG:
        _check_numbers(name, value)
    return value


def parse_json(raw: bytes) -> Any:
    """Returns the value of a JSON text that every parser reads alike.

    Raises:
        ValueError: It is not JSON in UTF-8 without a byte order mark, has a key twice in an object,
            more than ``MAX_VALUES`` values or a number with more than ``_MAX_DIGITS`` digits.
        RecursionError: It is nested too deeply.
    """
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    return json.loads(raw.decode(), object_pairs_hook=_once, parse_int=_integer)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key, number in Counter(names).items() if number > 1)
        raise ValueError(f"{twice[:100]!r} is there twice in one object")
    return found


def _check_code(name: str, value: Any) -> None:
    for key, item in _items(value):
        # transformers takes an implementation "org/name" for a kernel to fetch from the hub.
        if key in CODE_KEYS or (key.endswith("_implementation") and "/" in str(item)):
            raise UserError(
                "UnsafeModel",
                f"{name} has {key}, which loads code from the model or the hub; only architectures "
                f"that transformers has itself are supported: remove {key} or choose another model",
            )


def _check_numbers(name: str, value: Any) -> None:
    for key, item in _items(value):
        for names, least, most in _RANGES:
            # "not <=" is true of NaN.
            if isinstance(item, int | float) and names.fullmatch(key) and not least <= item <= most:
                raise invalid(
                    f"{name} has {key[:100]} {str(item)[:40]}, but it must be between {least} and "
                    f"{most}; correct it to what the weights have"
                )


def _check_patterns(name: str, value: Any) -> None:
    """Refuses what keeps a tokenizer busy with some text for ever, or makes it endlessly long."""
    parts = [value.get(part) for part in _WITH_PATTERNS] if isinstance(value, dict) else []
    # Each replacement may make a text longer by this factor, one after the other.
    contents = [item for key, item in _items(parts) if key == "content" and isinstance(item, str)]
    if math.prod(max(1, len(content)) for content in contents) > _MAX_GROWTH:
        raise UserError(
            "UnsafeModel",
            f"{name} replaces short texts by long ones, one replacement after the other; remove "
            "these from its normalizer or its decoder, or choose another tokenizer",
        )
    for key, item in _items(parts):
        if key == "Regex" and isinstance(item, str) and is_catastrophic(item):
            raise UserError(
                "UnsafeModel",
                f"{name} has the pattern {item[:100]!r}, on which a text can take for ever; write "
                "it without repeats inside of repeats, or choose another tokenizer",
            )


_WITH_PATTERNS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_ESCAPE = re.compile(r"\\(?:[pPxku]\{[^}]*\}|.)", re.DOTALL)
_CLASS = re.compile(r"\[[^\[\]]*\]")
_GROUP = re.compile(r"\(([^()]*)\)([*+]|\{\d*,\}|\{(?:\d*,)?\d{2,}\})?")
_SEVERAL_WAYS = re.compile(r"[*+|}\0]")
_IN_A_ROW = re.compile(r"(?:[^*+?][*+][?+]?){3}")


def is_catastrophic(pattern: str) -> bool:
    """Returns whether a regular expression may take more than quadratic time on some text.

    It may if it repeats a group that can match one text in several ways, as far as its form tells:
    a group with a repeat or a choice in it. Likewise three repeats in a row. What the published
    tokenizers use (GPT-2 to o200k, DeepSeek, Qwen, Bloom) has neither.
    """
    if len(pattern) > _MAX_PATTERN:
        return True
    # Escapes, classes and groups become one letter each, from the inside out; NUL marks what can
    # match in several ways.
    left = _ESCAPE.sub("E", pattern.replace("\0", "0"))
    changed = 1
    while changed:
        left, changed = _CLASS.subn("C", left)
    while group := _GROUP.search(left):
        several = bool(_SEVERAL_WAYS.search(group[1]))
        if (several and group[2]) or _IN_A_ROW.search(group[1]):
            return True
        mark = "\0" if several or group[2] else ""
        left = f"{left[: group.start()]}G{mark}{left[group.end() :]}"
    return bool(_IN_A_ROW.search(left))


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def invalid(message: str) -> UserError:
    """Returns the error of a model that cannot be imported."""
    return UserError("InvalidModel", f"not a model that can be imported: {message}")
