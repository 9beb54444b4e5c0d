"""Runs a program in the child and describes its answer. Nothing that it says is trusted."""

import fractions
import math
import os
import sys
from types import ModuleType
from typing import Any, NoReturn

import sympy

MODULE = "__program__"
_EMPTY = (type(None), list, tuple, dict, set, frozenset, complex)


def run(source: str, report: int, value_bytes: int) -> NoReturn:
    """Runs a program, writes what came of it to a pipe and ends the process.

    The report is a line ``<status> <kind>`` and then the value, see ``pool.Ran``.

    Args:
        source: Text that defines ``solution()``; ``math`` and ``sympy`` are there.
        report: Descriptor of the pipe.
        value_bytes: Longest value, as UTF-8.
    """
    # Taken now: the program may replace anything it can reach.
    write, leave = os.write, os._exit
    try:
        text = _report(source, value_bytes)
    except MemoryError:
        text = b"memory MemoryError\n"
    except BaseException as error:  # noqa: BLE001 - whatever the program raised
        text = f"raised {type(error).__name__}\n".encode("ascii", "replace")
    while text:
        text = text[write(report, text) :]
    leave(0)


def _report(source: str, value_bytes: int) -> bytes:
    module = ModuleType(MODULE)
    module.__dict__.update(math=math, sympy=sympy)
    sys.modules[MODULE] = module
    exec(compile(source, "<program>", "exec"), module.__dict__)  # noqa: S102 - what it is all for
    solution = module.__dict__.get("solution")
    if not callable(solution):
        return b"no-solution NoneType\n"
    status, kind, value = describe(solution())
    text = value[: value_bytes + 1].encode("utf-8", "replace")
    if len(text) > value_bytes:
        return f"output {kind}\n".encode()
    return f"{status} {kind}\n".encode() + text


def describe(value: Any) -> tuple[str, str, str]:
    """Returns status, kind and text of what ``solution()`` returned.

    For the kinds int, float, bool, fraction and number ``float(text)`` is ``float(value)``.
    """
    if isinstance(value, str):
        return "ok", "str", str(value)
    if isinstance(value, _EMPTY):
        return "no-value", _name(value), ""
    try:
        number = float(value)
    except OverflowError:
        return "no-value", _numeric_kind(value), ""
    except (TypeError, ValueError):
        if isinstance(value, sympy.Basic):
            return "ok", "sympy", str(value)
        return "no-value", "other", ""
    kind = _numeric_kind(value)
    return "ok", kind, str(int(value)) if kind == "int" else repr(number)


def _name(value: object) -> str:
    return "none" if value is None else next(t.__name__ for t in _EMPTY if isinstance(value, t))


def _numeric_kind(value: object) -> str:
    kinds: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int, sympy.Integer),
        "float": (float, sympy.Float),
        "fraction": (fractions.Fraction, sympy.Rational),
    }
    return next((kind for kind, types in kinds.items() if isinstance(value, types)), "number")
