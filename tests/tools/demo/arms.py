"""The arms of the proof: which run each is, what is shown of it, and what must come of it."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import yaml

from tools.demo.outcome import Outcome
from tools.paths import EXAMPLES

Value = float | str | None
Row = tuple[str, Callable[[Outcome], Value]]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A figure of each seed's run, and the bound that it must keep.

    Attributes:
        what: The figure in words.
        value: Takes the run, and the run of the same seed in the arm that it is compared with.
        at_least: Lower bound of every seed.
        at_most: Upper bound of every seed, or of the mean. Without a bound the figure is reported.
        on_average: Whether the bound is that of the mean.
    """

    what: str
    value: Callable[[Outcome, Outcome], float | None]
    at_least: float | None = None
    at_most: float | None = None
    on_average: bool = False


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in their seeds only.

    Attributes:
        task: Which kind of run it is about.
        name: Its short name.
        title: What it is, for people.
        manifest: The example that it is made of.
        changes: What of the example's spec is other; nested as the spec, None takes a field out.
        basis: What the figures were measured on.
        groups: Rows of its table; those without a value anywhere are left out.
        claims: What must hold.
        beside: Arm that it is compared with, if it is.
    """

    task: str
    name: str
    title: str
    manifest: str
    basis: str
    groups: tuple[tuple[Row, ...], ...]
    claims: tuple[Claim, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    beside: str = ""

    def body(self, seed: int) -> dict[str, Any]:
        """Returns the run with a seed, under a name of its own."""
        body: dict[str, Any] = yaml.safe_load((EXAMPLES / self.manifest).read_text())
        body["metadata"]["name"] = f"{self.task}-{self.name}-{seed}"
        body["spec"] = merged(body["spec"], {**self.changes, "seed": seed})
        return body


def merged(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a spec with other fields; a mapping changes the fields it names, None removes."""
    found = deepcopy(dict(spec))
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, Mapping):
            found[name] = merged(found.get(name, {}), value)
        else:
            found[name] = value
    return found


def minus(left: float | None, right: float | None) -> float | None:
    """Returns a difference, None where one side is not known."""
    return None if left is None or right is None else left - right
