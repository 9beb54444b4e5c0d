"""Keeps in memory how far workers report to be.

It does no harm to lose this: the next report comes within seconds, and no decision needs it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from autodidact_contract.task import Progress

MAX_STAGES = 64
"""Stages kept per run, so that a worker with made-up names cannot fill the memory."""

MAX_SHARDS = 1024
MAX_METRICS = 32
MAX_NAME = 63
_MIN_RATE_S = 1.0  # Below this, a rate is noise.


@dataclass(frozen=True, kw_only=True)
class Report:
    """The latest report about one shard of a stage.

    Attributes:
        step: Steps done.
        total: Steps in all; 0 while unknown.
        metrics: What the stage measures.
        shard: Index of the pod that reports.
        pod_uid: Which pod reports; the pod of another attempt begins a new series.
        received_at: Monotonic seconds.
        first_step: Step of the pod's first report of the stage.
        first_at: When that was.
    """

    step: int
    total: int
    shard: int
    pod_uid: str
    received_at: float
    first_step: int
    first_at: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def rate(self) -> float | None:
        """Returns steps per second since the first report, or None while it is not known."""
        seconds, steps = self.received_at - self.first_at, self.step - self.first_step
        return steps / seconds if seconds >= _MIN_RATE_S and steps > 0 else None


Reports = Mapping[str, tuple[Report, ...]]
"""The latest reports of a run by stage, one per shard, in the order of the shards."""


class ProgressBook:
    """The latest reports of all runs."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, dict[int, Report]]] = {}

    def record(
        self, run_uid: str, shard: int, pod_uid: str, progress: Progress, now: float
    ) -> bool:
        """Keep a report; returns whether there was room for it."""
        stages = self._runs.setdefault(run_uid, {})
        shards = stages.get(progress.stage)
        if shards is None:
            if len(stages) >= MAX_STAGES or len(progress.stage) > MAX_NAME:
                return False
            shards = stages[progress.stage] = {}
        earlier = shards.get(shard)
        if earlier is None and len(shards) >= MAX_SHARDS:
            return False
        shards[shard] = _continued(earlier, _first(shard, pod_uid, progress, now))
        return True

    def latest(self, run_uid: str) -> Reports:
        """Returns the latest reports of a run by stage; empty if there are none."""
        stages = self._runs.get(run_uid, {})
        return MappingProxyType(
            {stage: tuple(shards[i] for i in sorted(shards)) for stage, shards in stages.items()}
        )

    def keep(self, run_uids: Iterable[str]) -> None:
        """Forget all other runs."""
        wanted = set(run_uids)
        self._runs = {uid: stages for uid, stages in self._runs.items() if uid in wanted}


def fraction(reports: Iterable[Report], shards: int = 1) -> float | None:
    """Returns how much of a stage is done, from 0 to 1; None before the first report.

    Shards that have not reported count as not begun.
    """
    done = [min(r.step / r.total, 1.0) if r.total else 0.0 for r in reports]
    return min(sum(done) / max(shards, len(done)), 1.0) if done else None


def eta(reports: Iterable[Report], now: float) -> float | None:
    """Returns the seconds until the slowest shard that reports is done, or None if unknown.

    Args:
        reports: The latest reports of one stage.
        now: Monotonic seconds, of the clock of the reports.
    """
    left = []
    for report in reports:
        rate = report.rate()
        if report.total <= 0 or (rate is None and report.step < report.total):
            return None
        todo = max(report.total - report.step, 0)
        left.append(max(todo / rate - (now - report.received_at), 0.0) if rate else 0.0)
    return max(left, default=None)


def _first(shard: int, pod_uid: str, progress: Progress, now: float) -> Report:
    kept = sorted(progress.metrics.items())[:MAX_METRICS]
    return Report(
        step=progress.step,
        total=progress.total,
        metrics={name: value for name, value in kept if len(name) <= MAX_NAME},
        shard=shard,
        pod_uid=pod_uid,
        received_at=now,
        first_step=progress.step,
        first_at=now,
    )


def _continued(earlier: Report | None, report: Report) -> Report:
    """Returns the report with the beginning of the series it goes on with."""
    if earlier is None or earlier.pod_uid != report.pod_uid or earlier.step > report.step:
        return report
    return replace(report, first_step=earlier.first_step, first_at=earlier.first_at)
