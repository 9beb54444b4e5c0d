"""Figures with their aims, the machine they were measured on, and how both are printed."""

import json
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value.

    Attributes:
        aim: The limit as it is promised, such as `<= 20`; empty where nothing is.
    """

    name: str
    value: float
    unit: str
    aim: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the figures come from; the load is that before the first part."""

    system: str
    python: str
    cores: int
    memory_gb: float
    load: float

    @classmethod
    def here(cls) -> "Machine":
        """Returns this machine as it is now."""
        return cls(
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            cores=len(os.sched_getaffinity(0)),
            memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
            load=round(os.getloadavg()[0], 2),
        )

    def __str__(self) -> str:
        """Says it in one line."""
        return (
            f"{self.system}, Python {self.python}, {self.cores} cores, {self.memory_gb:g} GB, "
            f"load {self.load:g} before"
        )


def percentiles(name: str, seconds: Sequence[float], aims: dict[int, str]) -> Iterator[Figure]:
    """Yields percentiles in milliseconds, by nearest rank: each was really measured.

    Args:
        name: The figures' common name.
        seconds: What was measured.
        aims: The aim of each wanted percentile.
    """
    ordered = sorted(seconds)
    for percent, aim in aims.items():
        rank = -(-len(ordered) * percent // 100)
        value = ordered[rank - 1] * 1e3
        yield Figure(name=f"{name}.p{percent}", value=value, unit="ms", aim=aim)


def median(name: str, values: Sequence[float], unit: str, aim: str = "") -> Figure:
    """Returns the median of repetitions."""
    return Figure(name=name, value=statistics.median(values), unit=unit, aim=aim)


def show(console: Console, machine: Machine, figures: Sequence[Figure]) -> None:
    """Prints a table on a terminal, and a line of four words per figure elsewhere."""
    if not console.is_terminal:
        console.print(f"# {machine}")
        for figure in figures:
            line = f"{figure.name} {_number(figure.value)} {figure.unit} {figure.aim}"
            console.print(line.rstrip())
        return
    table = Table(title=str(machine), title_justify="left")
    for column, justify in (("figure", "left"), ("value", "right"), ("unit", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("aim")
    for figure in figures:
        table.add_row(figure.name, _number(figure.value), figure.unit, figure.aim)
    console.print(table)


def write(path: Path, machine: Machine, figures: Sequence[Figure]) -> None:
    """Writes machine and figures as JSON."""
    content: dict[str, Any] = {
        "machine": asdict(machine),
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def _number(value: float) -> str:
    """Returns a number with three digits that mean something."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
