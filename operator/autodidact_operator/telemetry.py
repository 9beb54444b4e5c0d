"""The operator's metrics, for `/metrics`.

Every label has a bounded set of values, such as kinds, verbs or phases. No label is a run's name.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# Otherwise every counter has a second series, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15)
_RECONCILE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BYTES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


class Telemetry:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = self._histogram(
            "reconcile_seconds", "Time of one reconcile.", ("kind", "outcome"), _RECONCILE_S
        )
        self.gap_seconds = self._histogram(
            "gap_seconds", "From seeing a terminal pod to the next Job's creation.", (), _GAP_S
        )
        self.status_bytes = self._histogram(
            "status_bytes", "Size of a written status as JSON.", ("kind",), _BYTES
        )
        self.api_requests = self._counter(
            "api_requests", "Requests to the API server.", ("verb", "resource", "code")
        )
        self.jobs_created = self._counter("jobs_created", "Jobs created.", ("kind",))
        self.retries = self._counter(
            "reconcile_retries", "Reconciles that failed, by kind of error.", ("error",)
        )
        self.events_dropped = self._counter(
            "events_dropped", "Events that were not posted.", ("why",)
        )
        self.progress_posts = self._counter(
            "progress_posts", "Progress reports, by HTTP status.", ("code",)
        )
        self.relists = self._counter("relists", "Full LISTs, by resource.", ("resource",))
        self.queue_depth = self._gauge("queue_depth", "Runs that wait for a worker.")
        self.queue_oldest = self._gauge("queue_oldest_seconds", "Age of the slowest run in it.")
        self.leading = self._gauge("leading", "1 while this process holds the lease.")
        self.watch_age = self._gauge(
            "watch_age_seconds", "Time since a watch was last known to be alive.", ("resource",)
        )
        self.objects = self._gauge("cached_objects", "Objects in the cache.", ("resource",))
        self.runs = self._gauge("runs", "Runs by kind and phase.", ("kind", "phase"))
        self.hindered = self._gauge(
            "hindered_runs", "Runs that lack something to go on, by reason.", ("kind", "reason")
        )

    def request(self, verb: str, resource: str, code: int) -> None:
        """Count a request to the API server."""
        self.api_requests.labels(verb, resource, str(code)).inc()

    def count_runs(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Set the number of runs by kind and phase, and of those that something hinders."""
        phases: Tally[tuple[str, str]] = Tally()
        reasons: Tally[tuple[str, str]] = Tally()
        for run in runs:
            kind, status = run.get("kind", ""), run.get("status") or {}
            phases[kind, status.get("phase", "Unknown")] += 1
            if status.get("waitingSince"):
                said = next((c["reason"] for c in status.get("conditions") or ()), "Unknown")
                reasons[kind, said] += 1
        for gauge, tally in ((self.runs, phases), (self.hindered, reasons)):
            gauge.clear()
            for labels, number in tally.items():
                gauge.labels(*labels).set(number)

    def exposition(self) -> bytes:
        """Returns everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _histogram(
        self, name: str, text: str, names: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(f"autodidact_{name}", text, names, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str, names: tuple[str, ...]) -> Counter:
        return Counter(f"autodidact_{name}", text, names, registry=self.registry)

    def _gauge(self, name: str, text: str, names: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"autodidact_{name}", text, names, registry=self.registry)
