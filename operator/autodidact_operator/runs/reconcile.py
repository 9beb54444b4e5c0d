"""One step of one run: observe, decide, act, write the status once, tell.

The same for a cluster and for one machine; what differs is behind ``Effects``.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.run import Origin, RunSpec
from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.task import RunRef
from autodidact_operator.cluster.cache import Snapshot
from autodidact_operator.cluster.resources import RunKey
from autodidact_operator.errors import ConflictError, ForbiddenError, InvalidObjectError
from autodidact_operator.plan import forking
from autodidact_operator.plan.decide import FINAL, decide, hindered, refused
from autodidact_operator.plan.forking import NoOrigin
from autodidact_operator.plan.recipes import BY_KIND, Recipe, graph_of
from autodidact_operator.plan.types import (
    Decision,
    Event,
    Graph,
    JobRequest,
    Observed,
    ObservedJob,
    Report,
    Run,
)
from autodidact_operator.progress import Reports, eta, fraction
from autodidact_operator.runs import jobs, observe
from autodidact_operator.runs.effects import act, write_record
from autodidact_operator.runs.lending import Lender, Planned
from autodidact_operator.runs.published import Library, quiet
from autodidact_operator.runs.specs import RefusedError, interpret, sentence, sources
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings
from autodidact_store.errors import StoreError
from autodidact_store.protocol import Store
from autodidact_store.sts import TokenService

Body = Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Reconciles runs on a cluster.

    Attributes:
        world: Reads from memory, writes to the API server.
        library: What is published.
        memory: What need not be found out again.
        settings: The operator's settings.
        lender: Of credentials to Jobs; None where all use one Secret.
    """

    world: World[Store]
    library: Library
    memory: "Memory"
    settings: Settings
    lender: Lender | None = None

    async def __call__(self, key: RunKey) -> float | None:
        """Brings a run one step further; returns after how many seconds to look again."""
        snapshot = self.world.snapshot(key)
        recipe = BY_KIND.get(key.kind)
        if snapshot is None or recipe is None or "deletionTimestamp" in snapshot.run["metadata"]:
            return None
        before, now = status_of(snapshot.run), self.world.now()
        try:
            run = self.memory.interpreted(recipe, snapshot.run)
        except RefusedError as error:
            await self._refuse(snapshot, (error.reason, str(error)), before, now)
            return None
        if run.spec.parent and not before.origin:
            found = self._origin(run, run.spec.parent)
            if isinstance(found, NoOrigin):
                return await self._without_origin(snapshot, run, found, before, now)
            before = before.model_copy(update={"origin": found})
        graph = self.memory.graph(recipe, run, before.origin)
        return await self._step(snapshot, run, graph, before, now)

    def _origin(self, run: Run, wanted: Origin) -> str | NoOrigin:
        """Returns the artifact that a forked run starts from, or why there is none."""
        key = RunKey(run.ref.kind, run.ref.namespace, wanted.run)
        parent = self.world.snapshot(key)
        status = status_of(parent.run) if parent else None
        others = forking.waits_for(wanted.run, partial(self._whom, run.ref))
        return forking.find(wanted, run.ref.name, status, others)

    def _whom(self, ref: RunRef, name: str) -> str:
        """Returns the run whose model a run beside ours waits for; empty where it waits for none."""
        snapshot = self.world.snapshot(RunKey(ref.kind, ref.namespace, name))
        if snapshot is None or status_of(snapshot.run).origin:
            return ""
        wanted = (snapshot.run.get("spec") or {}).get("from") or {}
        return str(wanted.get("run", ""))

    async def _without_origin(
        self, snapshot: Snapshot, run: Run, problem: NoOrigin, before: RunStatus, now: datetime
    ) -> float | None:
        said = problem.reason, problem.message
        if problem.final:
            await self._refuse(snapshot, said, before, now)
            return None
        decision = hindered(run, said, before, now, patiently=problem.patient)
        await act(decision, _Cluster(self, snapshot))
        return None if decision.status.phase in FINAL else _RETRY_STORE_S

    async def _refuse(
        self, snapshot: Snapshot, problem: tuple[str, str], before: RunStatus, now: datetime
    ) -> None:
        metadata = snapshot.run["metadata"]
        seen_jobs = observe.jobs(snapshot.jobs, snapshot.pods, metadata["uid"])
        decision = refused(metadata["generation"], problem, seen_jobs, before, now)
        await act(decision, _Cluster(self, snapshot))

    async def _step(
        self, snapshot: Snapshot, run: Run, graph: Graph, before: RunStatus, now: datetime
    ) -> float | None:
        profiles = _profiles(run.spec, snapshot)
        held = observe.HeldUp(now=now, secrets=self._secrets(run.spec, profiles))
        seen_jobs = observe.jobs(snapshot.jobs, snapshot.pods, run.ref.uid, held)
        planned = Planned(run=run, graph=graph, artifacts={})
        try:
            if before.phase not in FINAL:
                artifacts = await self.library.artifacts(
                    run.ref.uid, run.ref.namespace, graph, quiet(seen_jobs)
                )
                planned = Planned(run=run, graph=graph, artifacts=artifacts)
                if self.lender:
                    await self.lender.renew(planned, snapshot.jobs, seen_jobs)
        except StoreError as error:
            decision = hindered(run, (_reason(error), str(error)), before, now)
        except _REFUSALS as error:
            decision = hindered(run, ("CredentialsNotWritten", str(error)), before, now)
        else:
            seen = Observed(
                jobs=seen_jobs,
                artifacts=planned.artifacts,
                progress=_progress(self.world.progress(run.ref.uid), graph, self.world.monotonic()),
                problem=_missing_profile(run.spec, snapshot),
                enlargeable=frozenset(
                    name for name, one in profiles.items() if one.get("outOfMemoryResources")
                ),
            )
            decision = decide(graph, run, seen, before, now)
        wait = self._detail_wait(run, before, decision.status)
        if wait:
            decision = replace(decision, status=before)
        decision = await self._carry_out(decision, snapshot, planned, before, now)
        if decision.status.phase in FINAL and before.phase not in FINAL:
            await self._record(snapshot, run, decision.status, planned.artifacts)
        times = (
            wait,
            max((decision.wake_at - now).total_seconds(), 0.0) if decision.wake_at else None,
            _RETRY_STORE_S if decision.status.waiting_since else None,
            observe.QUIET_S if observe.quiet(seen_jobs) else None,
            self._renewal_wait(planned, seen_jobs, decision.status),
        )
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _renewal_wait(
        self, planned: Planned, seen: Iterable[ObservedJob], status: RunStatus
    ) -> float | None:
        """Returns in how many seconds a Job's credentials are to be renewed, if they can be."""
        if self.lender is None or status.phase in FINAL or status.waiting_since:
            return None
        return self.lender.wait(planned, seen)

    def _detail_wait(self, run: Run, before: RunStatus, after: RunStatus) -> float | None:
        """Returns in how many seconds a status may be written that can wait; None for at once."""
        if after == before or not only_detail(before, after):
            return None
        left = self.memory.seconds_to_write(run.ref.uid, self.world.monotonic())
        return left if left > 0 else None

    async def _carry_out(
        self,
        decision: Decision,
        snapshot: Snapshot,
        planned: Planned,
        before: RunStatus,
        now: datetime,
    ) -> Decision:
        """Returns what was decided and done; a Job that is refused hinders the run."""
        effects = _Cluster(self, snapshot, planned)
        try:
            await act(decision, effects)
        except NotCreatedError as error:
            problem = "JobNotCreated", str(error)
        except StoreError as error:
            problem = _reason(error), str(error)
        else:
            return decision
        decision = hindered(planned.run, problem, before, now)
        await act(decision, effects)
        return decision

    def _secrets(self, spec: RunSpec, profiles: Mapping[str, Body]) -> tuple[str, ...]:
        """Returns the names of the Secrets that pods of a run mount."""
        own = "the Job's own" if self.lender else self.settings.worker_store_secret
        engines = (profile.get("engineSecretName") for profile in profiles.values())
        names = [own, *(s.secret_name for s in sources(spec)), *engines]
        return tuple(dict.fromkeys(name for name in names if name))

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


_REFUSALS = (ConflictError, ForbiddenError, InvalidObjectError)
"""What the API server says to a write that it does not take."""

_RETRY_STORE_S = 5.0
"""Seconds after which a hindered run is looked at again."""

_DETAIL = ("stage", "progress", "eta", "stages")


def only_detail(before: RunStatus, after: RunStatus) -> bool:
    """Returns whether a status says nothing new that anything rests on.

    What was done, counted or decided is told at once. That a stage's pod is running now, or how far
    it is, can wait: on short stages these writes are most of the operator's, and each of them
    would hold up the next decision.
    """
    return after.model_copy(update={name: getattr(before, name) for name in _DETAIL}) == before


class Memory:
    """What is remembered per run, for speed alone.

    Args:
        settings: The operator's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._interpreted: dict[str, tuple[int, Run]] = {}
        self._graphs: dict[str, tuple[int, str, Graph]] = {}
        self._written_at: dict[str, float] = {}

    def interpreted(self, recipe: Recipe, body: Body) -> Run:
        """Returns a run object as the planner's run, worked out once per generation.

        Raises:
            RefusedError: As for ``interpret``.
        """
        uid, generation = body["metadata"]["uid"], body["metadata"]["generation"]
        known = self._interpreted.get(uid)
        if known is None or known[0] != generation:
            run = interpret(recipe, body, self._settings.import_prefixes)
            known = self._interpreted[uid] = (generation, run)
        return known[1]

    def graph(self, recipe: Recipe, run: Run, origin: str) -> Graph:
        """Returns a run's graph, worked out once per generation and origin."""
        uid = run.ref.uid
        known = self._graphs.get(uid)
        if known is None or known[:2] != (run.generation, origin):
            graph = graph_of(recipe, run.spec, uid, origin)
            known = self._graphs[uid] = (run.generation, origin, graph)
        return known[2]

    def wrote(self, uid: str, now: float) -> None:
        """Notes that a run's status was written."""
        self._written_at[uid] = now

    def seconds_to_write(self, uid: str, now: float) -> float:
        """Returns in how many seconds details may be written; not above 0 if they may be now."""
        written_at = self._written_at.get(uid)
        return 0.0 if written_at is None else written_at + self._settings.status_seconds - now

    def keep(self, uids: Iterable[str]) -> None:
        """Forgets all other runs."""
        wanted = set(uids)
        self._interpreted = {u: known for u, known in self._interpreted.items() if u in wanted}
        self._graphs = {u: known for u, known in self._graphs.items() if u in wanted}
        self._written_at = {u: at for u, at in self._written_at.items() if u in wanted}


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


def _named(spec: RunSpec) -> tuple[str, str, str]:
    """Returns the names of a run's ComputeProfiles."""
    return spec.compute.generate, spec.compute.train, spec.compute.default


def _profiles(spec: RunSpec, snapshot: Snapshot) -> dict[str, Body]:
    """Returns those of a run's ComputeProfiles that there are, as they were written."""
    return {n: snapshot.profiles[n] for n in _named(spec) if n in snapshot.profiles}


def _missing_profile(spec: RunSpec, snapshot: Snapshot) -> tuple[str, str] | None:
    """Says which ComputeProfile a run names that there is not, if any."""
    for name in _named(spec):
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


class NotCreatedError(Exception):
    """The API server refused a Job: a quota, an admission policy, a name that is taken."""


class _Cluster:
    """Effects on a cluster, for one run."""

    def __init__(
        self, reconciler: Reconciler, snapshot: Snapshot, planned: Planned | None = None
    ) -> None:
        self._lender = reconciler.lender
        self._world = reconciler.world
        self._memory = reconciler.memory
        self._settings = reconciler.settings
        self._snapshot = snapshot
        self._planned = planned

    async def create(self, request: JobRequest) -> None:
        if self._planned is None:
            raise ValueError("a run that was refused has no Jobs")
        run = self._planned.run
        body = self._snapshot.run
        profile = ComputeProfileSpec.model_validate(self._snapshot.profiles[request.profile])
        owner = jobs.Owner(ref=run.ref, api_version=body["apiVersion"])
        manifest = jobs.manifest(request, owner, run.spec, profile, self._settings)
        session = None
        if self._lender:
            # Before the Job: one whose pods cannot have what they need would only hold GPUs.
            name = manifest["metadata"]["name"]
            session = await self._lender.mint(self._planned, request.job, name)
        try:
            if (service := jobs.service(request, owner, profile)) is not None:
                await self._world.create_service(body, service)
            job = await self._world.create_job(body, manifest)
            if self._lender and session:
                await self._lender.hand_over(run.ref.uid, job, session)
        except _REFUSALS as error:
            raise NotCreatedError(f"{request.job}: {error}") from error

    async def delete(self, name: str) -> None:
        for body in self._snapshot.jobs:
            if body["metadata"]["name"] == name:
                await self._world.delete_job(body)

    async def write(self, status: RunStatus) -> None:
        body, content = self._snapshot.run, status.dump()
        if body.get("status") != content:
            await self._world.write_status(body, content)
            self._memory.wrote(body["metadata"]["uid"], self._world.monotonic())

    def event(self, event: Event) -> None:
        self._world.event(self._snapshot.run, event.type, event.reason, event.message)


def build(settings: Settings, sts: TokenService | None, world: World[Store]) -> Reconciler:
    """Returns the reconciler over a world, which has it forget the runs that are gone."""
    library, memory = Library(world.store), Memory(settings)
    world.keepers += [library.keep, memory.keep]
    lender = Lender(sts, settings, world) if sts else None
    if lender:
        world.keepers.append(lender.keep)
    return Reconciler(world=world, library=library, memory=memory, settings=settings, lender=lender)
