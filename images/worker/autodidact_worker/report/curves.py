"""Training logs: numbers by name and step."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodidact_worker.runtime.frame import InputArtifact

CURVE = "training_log.jsonl"

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A training log."""

    stage: str
    rows: tuple[Mapping[str, float], ...]

    def points(self, name: str, x: str = "step") -> Points:
        """Returns the points where a figure was logged, against the step or another figure."""
        return [(row[x], row[name]) for row in self.rows if name in row and x in row]


def read(name: str, artifact: InputArtifact, notes: list[str]) -> Curve | None:
    """Returns the log of a training, or None, noting why, if it cannot be read."""
    try:
        lines = tuple(_lines(artifact.path / CURVE))
    except (OSError, ValueError) as error:
        notes.append(f"{name}: its training log cannot be read ({type(error).__name__})")
        return None
    return Curve(stage=name, rows=lines) if lines else None


def _lines(path: Path) -> Iterator[Mapping[str, float]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield _numbers(json.loads(line))


def _numbers(row: Any) -> Mapping[str, float]:
    if not isinstance(row, dict):
        raise ValueError("not an object")  # noqa: TRY004 - bad data, as json's own error
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
