"""A built-in task for ReFT with programs: what is left after a few gains and losses.

A question is a chain such as ``12 gets 7 loses 3``, and its reasoning the body of a function that
keeps a count. Half of the rows name each amount before they use it, which is right as well, and
twice as much to write. Python does the arithmetic, so mistakes are slips in copying: the task is
here to take programs, time-outs and the sandbox through a whole run, not to prove a gain. All of it
is a function of the seed.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from autodidact_contract.base import Schema
from autodidact_contract.records import Question
from autodidact_worker.answers import reading
from autodidact_worker.toys import sums

SIZES = {"train": 1000, "validation": 100, "test": 200}
"""Questions of each split; no question is in two."""

LARGEST = 29
_SIGNS = {"gets": "+", "loses": "-"}
_LINES = ("    x+=y", "    x-=y", "    x+=", "    x-=", "    x=", "    y=", "    return x")
"""What a line of a body begins with; each is one token, the longer of two before the shorter."""

POSITIONS = 96


def answer(question: str) -> int:
    """Returns the count at the end of a chain."""
    first, *rest = question.split()
    return int(first) + sum(
        int(amount) if verb == "gets" else -int(amount)
        for verb, amount in zip(rest[::2], rest[1::2], strict=True)
    )


def body(question: str, *, named: bool) -> str:
    """Returns the body of the function for a chain, with a name for each amount or without."""
    first, *rest = question.split()
    lines = [f"    x={first}"]
    for verb, amount in zip(rest[::2], rest[1::2], strict=True):
        line = f"    x{_SIGNS[verb]}="
        lines += [f"    y={amount}", f"{line}y"] if named else [f"{line}{amount}"]
    return "\n".join([*lines, "    return x"])


def questions(seed: int, split: str) -> list[Question]:
    """Returns the rows of a split, ``train``, ``validation`` or ``test``."""
    rng = random.Random(f"{seed}/program/{split}/annotations")
    names = list(SIZES)
    begin = sum(SIZES[name] for name in names[: names.index(split)])
    return [
        Question(
            id=f"{split}-{number:04d}",
            question=text,
            reasoning=body(text, named=rng.random() < 0.5),
            answer=str(answer(text)),
        )
        for number, text in enumerate(_all(seed)[begin : begin + SIZES[split]])
    ]


DATA: Mapping[str, Callable[[int], Iterable[Schema]]] = {
    split: partial(questions, split=split) for split in SIZES
}
"""Rows by the last part of the URI."""


def write_model(folder: Path, seed: int) -> None:
    """Writes an untrained model of 0.11 million parameters with its tokenizer."""
    around = reading.prompt("?", "program").split("?")  # the question is in it twice
    phrases = (*around, *_LINES, *(f" {verb} " for verb in _SIGNS))
    sums.write_llama(folder, seed, phrases, (*"0123456789", "\n"), POSITIONS)


@cache
def _all(seed: int) -> tuple[str, ...]:
    """Returns the questions of all splits, no two alike."""
    rng = random.Random(f"{seed}/program/questions")
    found: dict[str, None] = {}
    while len(found) < sum(SIZES.values()):
        steps = [f"{rng.choice(list(_SIGNS))} {rng.randint(1, LARGEST)}" for _ in range(2)]
        found[" ".join([str(rng.randint(1, LARGEST)), *steps[: rng.randint(1, 2)]])] = None
    return tuple(found)
