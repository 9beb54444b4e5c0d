"""The built-in tasks by the name that an import's URI gives them (``toy://reft/train``)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autodidact_contract.base import Schema
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.toys import copying, ledger, lengthy, sums

TOY = "toy://"


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A built-in task.

    Attributes:
        write_model: Writes its untrained model for a seed.
        data: Its rows for a seed, by the last part of the URI.
        names: Which of these there are for a content.
    """

    write_model: Callable[[Path, int], None]
    data: Mapping[str, Callable[[int], Iterable[Schema]]]
    names: Mapping[str, tuple[str, ...]]


_SPLITS = {"model": ("model",), "questions": tuple(sums.SIZES)}
TOYS = {
    "selfreward": Toy(
        write_model=copying.write_model,
        data=copying.DATA,
        names={
            "model": ("model",),
            "instructions": ("instructions",),
            "evaluations": ("evaluations",),
            "ranked": ("heldout",),
            "trees": ("trees",),
            "prompts": ("validation",),
        },
    ),
    "selfreward-lengthy": Toy(
        write_model=copying.write_model,
        data=lengthy.DATA,
        names={
            "model": ("model",),
            "instructions": ("instructions",),
            "evaluations": ("evaluations",),
            "ranked": ("heldout",),
        },
    ),
    "reft": Toy(write_model=sums.write_model, data=sums.DATA, names=_SPLITS),
    "reft-uniform": Toy(write_model=sums.write_model, data=sums.UNIFORM, names=_SPLITS),
    "reft-program": Toy(write_model=ledger.write_model, data=ledger.DATA, names=_SPLITS),
}
"""Built-in tasks by the first part of the URI."""


def find(uri: str, content: str) -> tuple[Toy, str]:
    """Returns the task of a URI, and which of its data or whether its model is wanted.

    Args:
        uri: As in the import's config.
        content: What it is to be.

    Raises:
        UserError: ``InvalidSource``: there is no such task, or it has no such content.
    """
    task, _, name = uri.removeprefix(TOY).partition("/")
    if task not in TOYS or name not in TOYS[task].names.get(content, ()):
        known = [
            f"{TOY}{task}/{name}"
            for task, found in TOYS.items()
            for name in found.names.get(content, ())
        ]
        raise UserError("InvalidSource", f"{uri}: for {content} use {' or '.join(known)}")
    return TOYS[task], name
