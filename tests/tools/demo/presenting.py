"""What the proof shows of its runs: a table, a caption and the claims of each arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table
from rich.text import Text

from tools.demo.arms import Arm, Claim, Row, Value
from tools.demo.outcome import Outcome

Found = dict[str, dict[int, Outcome]]
"""Runs by arm and seed."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim that was looked at.

    Attributes:
        said: The claim with the figures.
        right: Whether it held; also where it has no bound.
        style: Its colour.
    """

    said: str
    right: bool
    style: str


def table(arm: Arm, runs: Mapping[int, Outcome]) -> Table:
    """Returns every figure of every seed, with mean and spread (standard deviation)."""
    shown = Table()
    shown.add_column("")
    for seed in runs:
        shown.add_column(f"seed {seed}", justify="right")
    shown.add_column("mean ± sd", justify="right")
    for group in (*arm.groups, (("CPU seconds", lambda found: found.cpu_seconds),)):
        for name, values in _rows(group, runs):
            shown.add_row(name, *_cells(values))
        shown.add_section()
    return shown


def caption(arm: Arm, runs: Mapping[int, Outcome], output: Path) -> Text:
    """Returns what the figures were measured on, how each run ended, and where its report is."""
    told = Text(f"{arm.basis}.")
    for seed, found in runs.items():
        told.append(f"\nseed {seed}: {found.end} ")
        told.append("report", style=f"link {found.page.relative_to(output)}")
    return told


def judge(arm: Arm, found: Found) -> list[Judged]:
    """Returns the arm's claims; one whose other arm did not run is left out."""
    return [
        _judged(arm, claim, values)
        for claim in arm.claims
        if (values := _values(arm, claim, found))
    ]


def of_arm(arm: Arm, found: Found, output: Path) -> dict[str, Any]:
    """Returns the arm's table and claims for programs."""
    runs = found[arm.name]
    rows = dict(row for group in arm.groups for row in _rows(group, runs))
    return {
        "title": arm.title,
        "manifest": arm.manifest,
        "basis": arm.basis,
        "seeds": list(runs),
        "ends": [one.end for one in runs.values()],
        "reports": [str(one.page.relative_to(output)) for one in runs.values()],
        "cpuSeconds": [one.cpu_seconds for one in runs.values()],
        "rows": {name: {"values": values, **_spread(values)} for name, values in rows.items()},
        "claims": [{"said": one.said, "held": one.right} for one in judge(arm, found)],
    }


def _rows(group: Sequence[Row], runs: Mapping[int, Outcome]) -> list[tuple[str, list[Value]]]:
    """Returns the rows of which at least one run has a value."""
    rows = [(name, [value(one) for one in runs.values()]) for name, value in group]
    return [(name, values) for name, values in rows if any(one is not None for one in values)]


def _numbers(values: Sequence[Value]) -> list[float]:
    return [value for value in values if isinstance(value, int | float)]


def _spread(values: Sequence[Value]) -> dict[str, float]:
    """Returns mean and standard deviation of the seeds that have the figure."""
    known = _numbers(values)
    found = {"mean": mean(known)} if known else {}
    return {**found, "sd": stdev(known)} if len(known) > 1 else found


def _cells(values: Sequence[Value]) -> list[str]:
    form = ".0f" if max(map(abs, _numbers(values)), default=0) >= 10 else ".3f"
    cells = [
        "-" if value is None else value if isinstance(value, str) else f"{value:{form}}"
        for value in values
    ]
    spread = _spread(values)
    return [*cells, " ± ".join(f"{value:{form}}" for value in spread.values())]


def _values(arm: Arm, claim: Claim, found: Found) -> list[float | None]:
    beside = found.get(arm.beside or arm.name, {})
    return [claim.value(one, beside[seed]) for seed, one in found[arm.name].items() if beside]


def _judged(arm: Arm, claim: Claim, values: Sequence[float | None]) -> Judged:
    shown = ", ".join("-" if value is None else f"{round(value, 3):+g}" for value in values)
    said = f"{arm.name}: {claim.what}: {shown}"
    if claim.at_least is None and claim.at_most is None:
        return Judged(said=f"{said}; reported, nothing is claimed", right=True, style="dim")
    known = [value for value in values if value is not None]
    right = len(known) == len(values)
    if right:
        low, high = (mean(known),) * 2 if claim.on_average else (min(known), max(known))
        right = claim.at_least is None or low >= claim.at_least
        right = right and (claim.at_most is None or high <= claim.at_most)
    bound = (
        f"at least {claim.at_least:g}"
        if claim.at_least is not None
        else f"at most {claim.at_most:g}"
    )
    where = "on average" if claim.on_average else "on every seed"
    verdict = "held" if right else "did NOT hold"
    style = "green" if right else "red"
    return Judged(said=f"{said}; {bound} {where}: {verdict}", right=right, style=style)
