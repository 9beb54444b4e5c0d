"""One step of one run: observe, decide, act, write the status once, tell.

The same for a cluster and for one machine; what differs is behind ``Effects``.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from autodidact_contract.artifacts import Artifact
from autodidact_contract.resources import ComputeProfileSpec, RunSpec, RunStatus
from autodidact_operator import jobs, observe
from autodidact_operator.cache import Snapshot
from autodidact_operator.effects import act, write_record
from autodidact_operator.library import Library, quiet
from autodidact_operator.plan.decide import FINAL, decide, hindered, refused
from autodidact_operator.plan.types import (
    Event,
    Graph,
    JobRequest,
    Observed,
    Report,
    Run,
)
from autodidact_operator.progress import Reports, eta, fraction
from autodidact_operator.recipes import BY_KIND
from autodidact_operator.resources import RunKey
from autodidact_operator.settings import Settings
from autodidact_operator.specs import RefusedError, interpret, sentence
from autodidact_operator.world import World
from autodidact_store.errors import StoreError
from autodidact_store.protocol import Store

Body = Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Reconciles runs on a cluster.

    Attributes:
        world: Reads from memory, writes to the API server.
        library: What is published.
        settings: The operator's settings.
    """

    world: World[Store]
    library: Library
    settings: Settings

    async def __call__(self, key: RunKey) -> float | None:
        """Brings a run one step further; returns after how many seconds to look again."""
        snapshot = self.world.snapshot(key)
        recipe = BY_KIND.get(key.kind)
        if snapshot is None or recipe is None or "deletionTimestamp" in snapshot.run["metadata"]:
            return None
        before, now = status_of(snapshot.run), self.world.now()
        try:
            run, graph = interpret(recipe, snapshot.run, self.settings.import_prefixes)
        except RefusedError as error:
            generation = snapshot.run["metadata"]["generation"]
            decision = refused(generation, (error.reason, str(error)), before, now)
            await act(decision, _Cluster(self, snapshot, None))
            return None
        return await self._step(snapshot, run, graph, before, now)

    async def _step(
        self, snapshot: Snapshot, run: Run, graph: Graph, before: RunStatus, now: datetime
    ) -> float | None:
        seen_jobs = observe.jobs(snapshot.jobs, snapshot.pods, run.ref.uid)
        artifacts: Mapping[str, Artifact] = {}
        try:
            if before.phase not in FINAL:
                artifacts = await self.library.artifacts(
                    run.ref.uid, run.ref.namespace, graph, quiet(seen_jobs)
                )
        except StoreError as error:
            decision = hindered(run, (_reason(error), str(error)), before, now)
        else:
            seen = Observed(
                jobs=seen_jobs,
                artifacts=artifacts,
                progress=_progress(self.world.progress(run.ref.uid), graph, self.world.monotonic()),
                problem=_missing_profile(run.spec, snapshot),
            )
            decision = decide(graph, run, seen, before, now)
        await act(decision, _Cluster(self, snapshot, run))
        if decision.status.phase in FINAL and before.phase not in FINAL:
            await self._record(snapshot, run, decision.status, artifacts)
        if decision.wake_at is None:
            return _RETRY_STORE_S if decision.status.waiting_since else None
        wait = max((decision.wake_at - now).total_seconds(), 0.0)
        return min(wait, _RETRY_STORE_S) if decision.status.waiting_since else wait

    async def _record(
        self,
        snapshot: Snapshot,
        run: Run,
        status: RunStatus,
        artifacts: Mapping[str, Artifact],
    ) -> None:
        """Leaves the run's record beside its artifacts, where it outlives the run object."""
        try:
            await asyncio.to_thread(
                write_record, self.world.store, run.ref, snapshot.run["spec"], status, artifacts
            )
        except StoreError as error:
            log.warning("record not written run=%s error=%s", run.ref.name, error)


_RETRY_STORE_S = 5.0
"""Seconds after which a hindered run is looked at again."""


def status_of(body: Body) -> RunStatus:
    """Returns a run's status; one that nobody of us wrote counts as none."""
    try:
        return RunStatus.model_validate(body.get("status") or {})
    except ValidationError:
        log.warning("status not ours, starting afresh run=%s", body["metadata"]["name"])
        return RunStatus()


def _reason(error: StoreError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return name if name.startswith("Store") else f"Store{name}"


def _missing_profile(spec: RunSpec, snapshot: Snapshot) -> tuple[str, str] | None:
    """Says which ComputeProfile a run names that there is not, if any."""
    for name in (spec.compute.generate, spec.compute.train, spec.compute.default):
        if name not in snapshot.profiles:
            there = ", ".join(sorted(snapshot.profiles)) or "none"
            message = (
                f"spec.compute names ComputeProfile {name}, but there is {there}; edit "
                "spec.compute or ask the administrator for it"
            )
            return "ComputeProfileNotFound", message
        try:
            ComputeProfileSpec.model_validate(snapshot.profiles[name])
        except ValidationError as error:
            return "ComputeProfileInvalid", f"ComputeProfile {name}: {sentence(error)}"
    return None


def _progress(reports: Reports, graph: Graph, now: float) -> Report | None:
    """Returns the report of the stage that was told of last."""
    by_name = graph.by_name
    told = {name: shards for name, shards in reports.items() if name in by_name and shards}
    if not told:
        return None
    last = max(told, key=lambda name: max(r.received_at for r in told[name]))
    done = fraction(told[last], by_name[last].shards)
    left = eta(told[last], now)
    return Report(stage=last, fraction=done or 0.0, eta_seconds=left)


class _Cluster:
    """Effects on a cluster, for one run."""

    def __init__(self, reconciler: Reconciler, snapshot: Snapshot, run: Run | None) -> None:
        self._world = reconciler.world
        self._settings = reconciler.settings
        self._snapshot = snapshot
        self._run = run

    async def create(self, request: JobRequest) -> None:
        if self._run is None:
            raise ValueError("a run that was refused has no Jobs")
        body = self._snapshot.run
        profile = ComputeProfileSpec.model_validate(self._snapshot.profiles[request.profile])
        owner = jobs.Owner(ref=self._run.ref, api_version=body["apiVersion"])
        if (service := jobs.service(request, owner, profile)) is not None:
            await self._world.create_service(body, service)
        manifest = jobs.manifest(request, owner, self._run.spec, profile, self._settings)
        await self._world.create_job(body, manifest)

    async def delete(self, name: str) -> None:
        for body in self._snapshot.jobs:
            if body["metadata"]["name"] == name:
                await self._world.delete_job(body)

    async def write(self, status: RunStatus) -> None:
        await self._world.write_status(self._snapshot.run, status.dump())

    def event(self, event: Event) -> None:
        self._world.event(self._snapshot.run, event.type, event.reason, event.message)


def build(world: World[Store], settings: Settings) -> Reconciler:
    """Returns the reconciler over a world."""
    return Reconciler(world=world, library=Library(world.store), settings=settings)
