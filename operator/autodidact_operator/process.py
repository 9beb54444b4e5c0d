"""The operator as a process: builds the parts, starts them in order, and ends them in order.

Every replica watches and fills its cache; only the one with the lease hands out work.
"""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient

from autodidact_contract.task import Progress
from autodidact_operator.cluster import kube as kubernetes
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.controller import DRAIN_S, Controller, Reconcile
from autodidact_operator.cluster.events import Recorder
from autodidact_operator.cluster.lease import Alone, Elector, KubeLease
from autodidact_operator.cluster.registry import Watcher
from autodidact_operator.cluster.resources import PODS, Resource, RunKey
from autodidact_operator.cluster.watches import SILENCE_S, WatchHealth
from autodidact_operator.cluster.workqueue import WorkQueue
from autodidact_operator.errors import OperatorError
from autodidact_operator.progress import ProgressBook
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings
from autodidact_operator.telemetry import Telemetry
from autodidact_operator.web import (
    MAX_QUEUE_AGE_S,
    Doorman,
    Probes,
    Reporter,
    Server,
    serve,
)
from autodidact_store.protocol import Store

MakeReconcile = Callable[[World], Reconcile]
"""Returns the function that brings a run one step further in a world."""

KOPF_EXIT_S = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one operator process, wired together."""

    settings: Settings
    telemetry: Telemetry
    cache: Cache
    queue: WorkQueue[RunKey]
    book: ProgressBook
    recorder: Recorder
    world: World
    watches: WatchHealth
    controller: Controller
    elector: Elector | Alone
    kube: kubernetes.Kube


def build(settings: Settings, client: ApiClient, runs: Sequence[Resource], store: Store) -> Parts:
    """Returns the parts; nothing is started."""
    telemetry = Telemetry()
    api = kubernetes.Kube(client, telemetry.request)
    cache = Cache(runs)
    queue = WorkQueue[RunKey](time.monotonic)
    book = ProgressBook()
    recorder = Recorder(api, telemetry, settings.pod_name)
    watches = WatchHealth(cache.resources)
    world = World(
        kube=api,
        cache=cache,
        runs=runs,
        book=book,
        recorder=recorder,
        telemetry=telemetry,
        store=store,
    )
    controller = Controller(
        kube=api,
        cache=cache,
        queue=queue,
        books=world,
        telemetry=telemetry,
        watches=watches,
        namespaces=settings.watch_namespaces,
        resync_seconds=settings.resync_seconds,
        workers=settings.workers,
    )
    return Parts(
        settings=settings,
        telemetry=telemetry,
        cache=cache,
        queue=queue,
        book=book,
        recorder=recorder,
        world=world,
        watches=watches,
        controller=controller,
        elector=_elector(settings, api),
        kube=api,
    )


async def run(
    settings: Settings,
    runs: Sequence[Resource],
    make: MakeReconcile,
    store: Store,
    stop: asyncio.Event | None = None,
) -> None:
    """Operate until SIGTERM or SIGINT.

    Args:
        settings: What the administrator decided.
        runs: The kinds of runs.
        make: Returns what to do with a run.
        store: The artifact store.
        stop: Ends the operator when it is set; SIGTERM and SIGINT set it too.

    Raises:
        ConfigError: If there is no cluster.
        LeaseLostError: If another replica may lead by now.
        OperatorError: If the cluster does not let the operator work.
    """
    stop = stop or asyncio.Event()
    _on_signals(stop)
    client = await kubernetes.connect()
    parts = build(settings, client, runs, store)
    server = await serve(application(parts), settings.port)
    try:
        await _operate(parts, client, make(parts.world), stop)
    finally:
        await server.cleanup()
        await client.close()  # type: ignore[no-untyped-call]  # The client's own gap.
        log.info("stopped")


def application(parts: Parts) -> web.Application:
    """Returns the HTTP application of an operator."""
    probes = Probes(
        ill=lambda: ill(parts),
        is_ready=lambda: parts.controller.primed,
        measure=parts.controller.measure,
        is_leading=lambda: parts.elector.leading,
        leader=lambda: parts.elector.leader_address,
    )
    doorman = Doorman(
        parts.kube,
        parts.settings.progress_audience,
        lambda namespace, name: parts.cache.get(PODS, namespace, name),
    )
    server = Server(
        probes=probes,
        telemetry=parts.telemetry,
        doorman=doorman,
        report=Intake(parts).take,
    )
    return server.application()


def ill(parts: Parts) -> str:
    """Returns what is wrong with a process, in words; empty if nothing is."""
    age = parts.queue.oldest_age()
    if age > MAX_QUEUE_AGE_S:
        return f"a run has been waiting for {age:.0f} s"
    silent = {name: age for name, age in parts.watches.ages().items() if age > SILENCE_S}
    if silent and parts.controller.primed:
        return "silent watches: " + ", ".join(f"{n} {a:.0f} s" for n, a in silent.items())
    return ""


class Intake:
    """Takes in reports, and has their runs reconciled, each once in some seconds at most."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._next: dict[str, float] = {}  # When a run may be enqueued again.

    def take(self, reporter: Reporter, progress: Progress) -> bool:
        """Keep a report; returns False if there is no room for it."""
        now = self._parts.world.monotonic()
        kept = self._parts.book.record(
            reporter.run_uid, reporter.shard, reporter.pod_uid, progress, now
        )
        if kept:
            self._enqueue(reporter.run_uid, now)
        return kept

    def _enqueue(self, run_uid: str, now: float) -> None:
        key = self._parts.cache.key_of(run_uid)
        if key is None:
            return
        when = max(self._next.get(run_uid, now), now)
        if when - now < self._parts.settings.status_seconds:
            self._next[run_uid] = when + self._parts.settings.status_seconds
            self._parts.controller.enqueue(key, when - now)
        if len(self._next) > 2 * len(self._parts.cache.run_keys()) + 16:
            self._next = {uid: at for uid, at in self._next.items() if at > now}


async def _operate(
    parts: Parts, client: ApiClient, reconcile: Reconcile, stop: asyncio.Event
) -> None:
    """Fill the cache, watch and lead, until told to stop or until a part fails.

    Raises:
        OperatorError: What ended a part, or that it ended.
    """
    stopped = asyncio.create_task(stop.wait(), name="stop")
    primed = asyncio.create_task(parts.controller.prime(), name="prime")
    if await _first(stopped, primed) is stopped:
        primed.cancel()
        return
    primed.result()
    # Created before kopf starts, since kopf cancels at its end every task that is younger.
    background = [
        asyncio.create_task(parts.controller.resync_forever(), name="resync"),
        asyncio.create_task(parts.recorder.run(), name="events"),
    ]
    watcher = Watcher(
        client=client,
        watches=parts.watches,
        resources=parts.cache.resources,
        namespaces=parts.settings.watch_namespaces,
        observe=parts.controller.observe,
    )
    watching = await watcher.start()
    _on_signals(stop)  # Once more: kopf has installed its own.
    leading = asyncio.create_task(_lead(parts, reconcile), name="lead")
    try:
        ended = await _first(stopped, watching, leading, *background)
        if ended is not stopped:
            ended.result()
            raise OperatorError(f"{ended.get_name()} ended")
    finally:
        await _shut_down(parts, leading, watcher, watching, [stopped, *background])


async def _lead(parts: Parts, reconcile: Reconcile) -> None:
    """Wait for the lease, then reconcile until the queue is closed.

    Raises:
        OperatorError: If the lease is lost, or the cache cannot be filled.
    """
    await parts.elector.acquire()
    parts.telemetry.leading.set(1)
    try:
        async with asyncio.TaskGroup() as group:
            held = group.create_task(parts.elector.hold(), name="lease")
            await parts.controller.lead()
            await parts.controller.work(reconcile)
            held.cancel()
    except BaseExceptionGroup as error:
        raise error.exceptions[0] from error


async def _shut_down(
    parts: Parts,
    leading: asyncio.Task[None],
    watcher: Watcher,
    watching: asyncio.Task[None],
    others: Sequence[asyncio.Task[Any]],
) -> None:
    """Finish what is being reconciled, give the lease back, and end everything else."""
    if not parts.queue.is_open:
        leading.cancel()
    parts.queue.close()
    await _end(leading, DRAIN_S)
    await parts.elector.release()
    for task in others:
        await _end(task, 0)
    watcher.stop()
    await _end(watching, KOPF_EXIT_S)


async def _end(task: asyncio.Task[Any], patience_s: float) -> None:
    """Wait for a task, then cancel it; its error was reported before or no longer matters."""
    await asyncio.wait([task], timeout=patience_s)
    task.cancel()
    await asyncio.wait([task], timeout=1.0)


async def _first(*tasks: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """Returns the first task in order that has ended, once there is one."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return next(task for task in tasks if task in done)


def _elector(settings: Settings, api: kubernetes.Kube) -> Elector | Alone:
    if not settings.leader_election:
        return Alone()
    return Elector(
        KubeLease(api, settings.namespace, settings.lease_name),
        f"{settings.pod_name}_{secrets.token_hex(4)}",
        address=f"http://{_host(settings.pod_ip)}:{settings.port}" if settings.pod_ip else "",
    )


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
