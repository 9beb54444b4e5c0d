"""What a run of the proof came to: its final status, and the tables of its report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autodidact_contract.api.status import RunStatus


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run that has ended. Every figure is None where it was not measured.

    Attributes:
        status: Its final status.
        page: Its report on this machine, beside the summary that came with it.
        cpu_seconds: CPU time of all its processes; None where other machines may have had them.
    """

    status: RunStatus
    page: Path
    cpu_seconds: float | None = None

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The report's tables, for programs."""
        found: dict[str, Any] = json.loads(self.page.with_name("summary.json").read_bytes())
        return found

    def figure(self, line: str, name: str) -> float | None:
        """Returns a figure of the history."""
        found = (getattr(row, name) for row in self.status.history if row.name == line)
        return next(found, None)

    def round(self, number: int, name: str) -> float | None:
        """Returns a figure of a round; round t makes M(t+1)."""
        found = (row[name] for row in self.tables["rounds"] if row["round"] == number)
        return next(found, None)

    def lengths(self, model: str) -> Mapping[str, Any]:
        """Returns what is known of the lengths of a model's replies, which may be nothing."""
        found = (row for row in self.tables["measures"]["lengths"] if row["model"] == model)
        return next(found, {})

    def battles(self, model: str) -> tuple[int, int, int] | None:
        """Returns wins, ties and losses of a model against M1."""
        for met in self.tables["measures"]["meetings"]:
            if (met["model"], met["opponent"]) == (model, "M1"):
                return met["win"], met["tie"], met["loss"]
        return None

    def gain(self, model: str) -> float | None:
        """Returns the share of battles won against M1 minus that of lost ones."""
        met = self.battles(model)
        return (met[0] - met[2]) / sum(met) if met else None

    @property
    def parse_rate(self) -> float | None:
        """The lowest share of readable judgements of a round."""
        known = (row["parseRate"] for row in self.tables["rounds"])
        return min((rate for rate in known if rate is not None), default=None)

    @property
    def reason(self) -> str:
        """What ended it, in one word."""
        return self.status.conditions[0].reason

    @property
    def end(self) -> str:
        """How it ended and what for."""
        return f"{self.status.phase}: {self.reason}: {self.status.conditions[0].message}"
