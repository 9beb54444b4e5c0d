"""Keeps the cache up to date, and reconciles the runs in the queue, each once at a time.

A watch event changes the cache and puts the run's key into the queue; a worker reconciles the key
with whatever the cache holds by then. The cache is filled by LISTs before the queue opens and
compared with LISTs from time to time, so that a missed event is made up for within minutes.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from autodidact_operator.cluster import labels
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.resources import JOBS, PODS, Body, Resource, RunKey
from autodidact_operator.cluster.watches import WatchHealth
from autodidact_operator.cluster.workqueue import WorkQueue
from autodidact_operator.errors import OperatorError, ThrottledError, TransientError
from autodidact_operator.telemetry import Telemetry

Reconcile = Callable[[RunKey], Awaitable[float | None]]
"""Brings a run one step further; returns after how many seconds it wants to be called again."""

RECONCILE_TIMEOUT_S = 45.0
"""A reconcile that takes longer hangs; it is cancelled and tried again."""

DRAIN_S = 3.0
_PRIME_RETRY_S = 2.0
_SETTLE_S = 0.2  # kopf lists all kinds at about the same time: answer with one round of LISTs.
_ENDED = frozenset({"Succeeded", "Failed"})

log = logging.getLogger(__name__)


class Lists(Protocol):
    """What can list objects: `Kube`, or a fake in a test."""

    async def list(
        self, resource: Resource, namespace: str | None = None, labels: str = ""
    ) -> tuple[list[Body], str]:
        """Returns all objects and the LIST's resourceVersion."""
        ...


class Bookkeeping(Protocol):
    """What is kept per run beside the cache: `World`, or a fake in a test."""

    def pod_ended(self, run_uid: str) -> None:
        """Note that a pod of a run was just seen to have ended."""
        ...

    def keep(self, run_uids: Iterable[str]) -> None:
        """Forget what belongs to other runs."""
        ...


class Controller:
    """Takes in what happens on the cluster, and calls `reconcile` for the runs it concerns.

    Args:
        kube: For the LISTs.
        cache: What the events and LISTs go to.
        queue: The keys that need work.
        books: What is kept per run.
        telemetry: Metrics.
        watches: Health of the watches.
        namespaces: Namespaces to serve; empty for all.
        resync_seconds: Time between LISTs.
        workers: Runs reconciled at the same time.
        clock: Monotonic seconds, of the queue.
    """

    def __init__(
        self,
        *,
        kube: Lists,
        cache: Cache,
        queue: WorkQueue[RunKey],
        books: Bookkeeping,
        telemetry: Telemetry,
        watches: WatchHealth,
        namespaces: Sequence[str] = (),
        resync_seconds: float = 300.0,
        workers: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._books = books
        self._telemetry = telemetry
        self._watches = watches
        self._namespaces = namespaces
        self._resync_seconds = resync_seconds
        self._workers = workers
        self._clock = clock
        self.primed = False

    def observe(self, resource: Resource, event: str | None, body: Body) -> None:
        """Take in a watch event."""
        if resource == PODS:
            self._note_end(body)
        for key in self._cache.apply(resource, event, body):
            self._queue.add(key)

    def enqueue(self, key: RunKey, delay: float = 0.0) -> None:
        """Have a run reconciled, at once or after some seconds."""
        if delay:
            self._queue.add_at(key, self._clock() + delay)
        else:
            self._queue.add(key)

    async def prime(self) -> None:
        """Fill the cache; returns when every kind was listed.

        Raises:
            PermanentError: If something may not be listed; the message names it.
        """
        while True:
            try:
                await self.resync()
            except TransientError as error:
                log.warning("cache not primed error=%s retry_s=%s", error, _PRIME_RETRY_S)
                await asyncio.sleep(_PRIME_RETRY_S)
            else:
                self.primed = True
                return

    async def resync(self, resources: Iterable[Resource] = ()) -> None:
        """Compare the cache with LISTs and enqueue the runs for which it was wrong.

        Args:
            resources: What to list; everything by default.

        Raises:
            OperatorError: If a LIST fails; the others may have been taken in.
        """
        for resource in resources or self._cache.resources:
            for namespace in self._where(resource):
                await self._relist(resource, namespace)
        self._books.keep(self._cache.run_uids())

    async def resync_forever(self) -> None:
        """Resync everything from time to time, and what kopf had to list again at once."""
        while True:
            relisted = await self._wait_for_relist()
            try:
                await self.resync(relisted)
            except OperatorError as error:
                log.warning("resync failed error=%s", error)

    async def lead(self) -> None:
        """Open the queue, with every run in it."""
        # A standby's cache may miss what the former leader just wrote.
        await self.prime()
        for key in self._cache.run_keys():
            self._queue.add(key)
        self._queue.open()

    async def work(self, reconcile: Reconcile) -> None:
        """Run the workers until the queue is closed and all of them are done."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._worker(reconcile), name=f"worker-{number}")

    async def step(self, key: RunKey, reconcile: Reconcile) -> None:
        """Reconcile one key and put it back into the queue if it wants or needs that."""
        started = self._clock()
        outcome = "ok"
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                wake = await reconcile(key)
        except Exception as error:  # noqa: BLE001 - the top of a worker; one run must not end all.
            outcome = "error"
            self._retry(key, error)
        else:
            self._queue.forget(key)
            if wake is not None:
                self._queue.add_at(key, self._clock() + max(wake, 0.0))
        finally:
            self._queue.done(key)
            seconds = self._clock() - started
            self._telemetry.reconcile_seconds.labels(key.kind, outcome).observe(seconds)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self._telemetry.queue_depth.set(len(self._queue))
        self._telemetry.queue_oldest.set(self._queue.oldest_age())
        self._telemetry.count_runs(self._cache.runs())
        for name, size in self._cache.sizes().items():
            self._telemetry.objects.labels(name).set(size)
        for name, age in self._watches.ages().items():
            self._telemetry.watch_age.labels(name).set(age)

    async def _worker(self, reconcile: Reconcile) -> None:
        while (key := await self._queue.get()) is not None:
            await self.step(key, reconcile)

    def _retry(self, key: RunKey, error: Exception) -> None:
        at_least = error.retry_after if isinstance(error, ThrottledError) else 0.0
        delay = self._queue.retry(key, at_least)
        self._telemetry.retries.labels(type(error).__name__).inc()
        expected = isinstance(error, (OperatorError, TimeoutError))
        log.warning(
            "reconcile failed kind=%s namespace=%s name=%s error=%s retry_s=%.1f message=%s",
            *key,
            type(error).__name__,
            delay,
            error,
            exc_info=None if expected else error,
        )

    def _note_end(self, body: Body) -> None:
        """Note the moment at which a pod is first seen to have ended."""
        if not _has_ended(body):
            return
        metadata = body["metadata"]
        known = self._cache.get(PODS, metadata["namespace"], metadata["name"])
        if known is not None and _has_ended(known):
            return
        uid = (metadata.get("labels") or {}).get(labels.RUN_UID)
        if uid:
            self._books.pod_ended(uid)

    def _where(self, resource: Resource) -> Sequence[str | None]:
        return self._namespaces if resource.namespaced and self._namespaces else (None,)

    async def _relist(self, resource: Resource, namespace: str | None) -> None:
        selector = labels.RUN if resource in (JOBS, PODS) else ""
        items, version = await self._kube.list(resource, namespace, labels=selector)
        self._telemetry.relists.labels(resource.name).inc()
        for key in self._cache.replace(resource, items, version, namespace):
            self._queue.add(key)

    async def _wait_for_relist(self) -> tuple[Resource, ...]:
        """Returns the kinds that kopf listed again, or nothing when it is time for all."""
        try:
            async with asyncio.timeout(self._resync_seconds):
                await self._watches.relisted.wait()
                await asyncio.sleep(_SETTLE_S)
        except TimeoutError:
            self._watches.take_relisted()
            return ()
        return self._watches.take_relisted()


def _has_ended(pod: Body) -> bool:
    """Returns whether a pod's containers have ended; its phase says so a moment later."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    return status.get("phase") in _ENDED or (
        bool(containers) and all("terminated" in (c.get("state") or {}) for c in containers)
    )
