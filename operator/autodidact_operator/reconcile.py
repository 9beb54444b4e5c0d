"""One step of one run: observe, decide, act, write the status once, tell.

The same for a cluster and for one machine; what differs is behind ``Effects``.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from autodidact_contract.artifacts import Artifact, run_prefix
from autodidact_contract.base import canonical_json
from autodidact_contract.resources import ComputeProfileSpec, RunSpec, RunStatus, Source
from autodidact_contract.stages import RunRef
from autodidact_operator import jobs, observe
from autodidact_operator.cache import Snapshot
from autodidact_operator.library import Library, quiet
from autodidact_operator.plan.decide import FINAL, decide, hindered, refused
from autodidact_operator.plan.types import (
    Decision,
    Event,
    Graph,
    JobRequest,
    Observed,
    Report,
    Run,
)
from autodidact_operator.progress import Reports, eta, fraction
from autodidact_operator.recipes import BY_KIND, Recipe
from autodidact_operator.resources import RunKey
from autodidact_operator.settings import Settings
from autodidact_operator.world import World
from autodidact_store.errors import StoreError
from autodidact_store.protocol import Store

Body = Mapping[str, Any]
log = logging.getLogger(__name__)


class Effects(Protocol):
    """What a decision may do to the world."""

    async def create(self, request: JobRequest) -> None:
        """Creates a Job; one of this name that is the run's own counts as created."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes a Job and its pods, which are told to stop and given time to."""
        ...

    async def write(self, status: RunStatus) -> None:
        """Writes the status, if it differs from what is there."""
        ...

    def event(self, event: Event) -> None:
        """Tells of an event."""
        ...


async def act(decision: Decision, effects: Effects) -> None:
    """Carries a decision out. Killed anywhere, the next step does what is left."""
    for name in decision.delete:
        await effects.delete(name)
    for request in decision.create:
        log.info("create job=%s attempt=%d", request.job, request.attempt)
        await effects.create(request)
    await effects.write(decision.status)
    for event in decision.events:
        effects.event(event)


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
            run, graph = interpret(recipe, snapshot.run, self.settings)
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


def write_record(
    store: Store,
    ref: RunRef,
    spec: Body,
    status: RunStatus,
    artifacts: Mapping[str, Artifact],
) -> str:
    """Writes ``run.json``: what was asked, what came out, and from which artifacts.

    Returns:
        The record's key.

    Raises:
        StoreError: It could not be written.
    """
    key = run_prefix(ref.namespace, ref.uid) + "run.json"
    lineage = {name: {"artifact": a.name, "digest": a.digest} for name, a in artifacts.items()}
    record = {"run": ref.dump(), "spec": spec, "status": status.dump(), "artifacts": lineage}
    store.replace(key, canonical_json(record))
    return key


class RefusedError(Exception):
    """A run that can never work as it is.

    Attributes:
        reason: CamelCase, for conditions.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def interpret(recipe: Recipe, body: Body, settings: Settings) -> tuple[Run, Graph]:
    """Returns a run object as the planner's run and graph.

    Raises:
        RefusedError: The spec is not valid, or names a location its namespace may not use.
    """
    metadata = body["metadata"]
    try:
        spec = recipe.spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        raise RefusedError("InvalidSpec", sentence(error)) from error
    ref = RunRef(
        kind=recipe.kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
    )
    for source in sources(spec):
        _check_location(source, ref.namespace, settings.import_prefixes)
    run = Run(
        ref=ref,
        spec=spec,
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
    )
    return run, recipe.graph(spec, ref.uid)


def sentence(error: ValidationError) -> str:
    """Returns what is wrong with a spec in one line, with the path of each field."""
    parts = [
        f"spec.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors()
    ]
    return "; ".join(parts)


def sources(spec: Any) -> list[Source]:
    """Returns all sources in a spec."""
    if isinstance(spec, Source):
        return [spec]
    fields = getattr(type(spec), "model_fields", {})
    return [source for name in fields for source in sources(getattr(spec, name))]


def _check_location(source: Source, namespace: str, prefixes: tuple[str, ...]) -> None:
    """Refuses a location that neither the administrator nor a Secret of the namespace opens.

    The workers' own credentials would read it, so a prefix is matched as it is: no dots that
    climb, no escapes.
    """
    uri = source.uri
    if re.search(r"(^|/)\.\.?(/|$)|%|\\", uri.partition("://")[2]):
        raise RefusedError("LocationNotAllowed", f"{uri}: a location has no '..', '%' or '\\'")
    if uri.startswith("file://"):
        raise RefusedError(
            "LocationNotAllowed", f"{uri}: file:// is for local mode; upload the data to S3"
        )
    if source.secret_name:
        return
    opened = [prefix.replace("{namespace}", namespace) for prefix in prefixes]
    if not any(uri.startswith(prefix) for prefix in opened):
        raise RefusedError(
            "LocationNotAllowed",
            f"{uri}: namespace {namespace} may import from {', '.join(opened) or 'nowhere'}; for "
            "any other location name a Secret of the namespace in secretName",
        )


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
