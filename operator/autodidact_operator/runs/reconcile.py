"""One step of one run on a cluster: observe, decide, act, and say when to look again.

Whatever hinders a run is a ``Problem``; ``plan.problems`` has the table of them.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from pydantic import ValidationError

from autodidact_contract.api.run import Origin
from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.task import RunRef
from autodidact_operator.cluster.cache import Snapshot
from autodidact_operator.cluster.resources import Body, RunKey
from autodidact_operator.plan import forking
from autodidact_operator.plan.decide import decide, hindered, refused
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.recipes import BY_KIND
from autodidact_operator.plan.types import FINAL, Decision, Graph, Observed, ObservedJob, Run
from autodidact_operator.runs import observe, profiles, published
from autodidact_operator.runs.cluster_effects import REFUSALS, ClusterEffects, NotCreatedError
from autodidact_operator.runs.effects import act
from autodidact_operator.runs.lending import Lender, Planned
from autodidact_operator.runs.memory import Memory, only_detail
from autodidact_operator.runs.published import Library, busy
from autodidact_operator.runs.record import write_record
from autodidact_operator.runs.specs import RefusedError
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings
from autodidact_store.errors import StoreError
from autodidact_store.sts import TokenService

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Reconciles runs on a cluster.

    Attributes:
        world: Reads from the cache, writes to the API server.
        library: What is published.
        memory: What need not be worked out again.
        settings: The operator's settings.
        lender: Of credentials to Jobs; None where all use one Secret.
    """

    world: World
    library: Library
    memory: Memory
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
            await self._refuse(snapshot, Problem(error.reason, str(error)), before, now)
            return None
        if run.spec.parent and not before.origin:
            found = self._origin(run, run.spec.parent)
            if isinstance(found, Problem):
                return await self._without_origin(snapshot, run, found, before, now)
            before = before.model_copy(update={"origin": found})
        graph = self.memory.graph(recipe, run, before.origin)
        return await self._step(snapshot, run, graph, before, now)

    async def _step(
        self, snapshot: Snapshot, run: Run, graph: Graph, before: RunStatus, now: datetime
    ) -> float | None:
        """Observes, decides and acts for a run whose graph is known."""
        own_profiles = profiles.of_run(run.spec, snapshot.profiles)
        seen_jobs = self._jobs(snapshot, run, own_profiles, now)
        planned, problem = await self._published(snapshot, run, graph, seen_jobs, before)
        if problem:
            decision = hindered(run, problem, before, now)
        else:
            reports = self.world.progress(run.ref.uid)
            seen = Observed(
                jobs=seen_jobs,
                artifacts=planned.artifacts,
                progress=observe.progress(reports, graph, self.world.monotonic()),
                problem=profiles.problem(run.spec, snapshot.profiles),
                enlargeable=profiles.enlargeable(own_profiles),
            )
            decision = decide(graph, run, seen, before, now)
        put_off = self._seconds_to_write(run, before, decision.status)
        if put_off is not None:
            decision = replace(decision, status=before)
        decision = await self._carry_out(decision, snapshot, planned, before, now)
        if decision.status.phase in FINAL and before.phase not in FINAL:
            await self._record(snapshot, run, decision.status, planned.artifacts)
        times = (
            put_off,
            max((decision.wake_at - now).total_seconds(), 0.0) if decision.wake_at else None,
            decision.look_again_s,
            observe.USUAL_S if observe.unexplained(seen_jobs) else None,
            self._seconds_to_renew(planned, seen_jobs, decision.status),
        )
        return min((seconds for seconds in times if seconds is not None), default=None)

    # Observe.

    def _origin(self, run: Run, wanted: Origin) -> str | Problem:
        """Returns the artifact that a forked run starts from, or why there is none."""
        key = RunKey(run.ref.kind, run.ref.namespace, wanted.run)
        parent = self.world.snapshot(key)
        status = status_of(parent.run) if parent else None
        others = forking.waits_for(wanted.run, partial(self._waits_for, run.ref))
        return forking.find(wanted, run.ref.name, status, others)

    def _waits_for(self, ref: RunRef, name: str) -> str:
        """Returns the run whose model a run of our namespace waits for; empty if for none."""
        snapshot = self.world.snapshot(RunKey(ref.kind, ref.namespace, name))
        if snapshot is None or status_of(snapshot.run).origin:
            return ""
        wanted = (snapshot.run.get("spec") or {}).get("from") or {}
        return str(wanted.get("run", ""))

    def _jobs(
        self, snapshot: Snapshot, run: Run, own_profiles: Mapping[str, Body], now: datetime
    ) -> tuple[ObservedJob, ...]:
        """Returns the run's Jobs with their pods."""
        store_secret = "the Job's own" if self.lender else self.settings.worker_store_secret
        secrets = profiles.secrets(run.spec, own_profiles, store_secret)
        held = observe.HeldUp(now=now, secrets=secrets)
        return observe.jobs(snapshot.jobs, snapshot.pods, run.ref.uid, held)

    async def _published(
        self,
        snapshot: Snapshot,
        run: Run,
        graph: Graph,
        seen_jobs: tuple[ObservedJob, ...],
        before: RunStatus,
    ) -> tuple[Planned, Problem | None]:
        """Returns what is published of a run, and renews the credentials of its Jobs.

        The problem is what went wrong with one of the two.
        """
        planned = Planned(run=run, graph=graph, artifacts={})
        if before.phase in FINAL:
            return planned, None
        try:
            artifacts = await self.library.artifacts(
                run.ref.uid, run.ref.namespace, graph, busy(seen_jobs)
            )
            planned = replace(planned, artifacts=artifacts)
            if self.lender:
                await self.lender.renew(planned, snapshot.jobs, seen_jobs)
        except StoreError as error:
            return planned, published.problem(error)
        except REFUSALS as error:
            return planned, Problem("CredentialsNotWritten", str(error))
        return planned, None

    # Act.

    async def _refuse(
        self, snapshot: Snapshot, problem: Problem, before: RunStatus, now: datetime
    ) -> None:
        """Ends a run that can never work, and its Jobs."""
        metadata = snapshot.run["metadata"]
        seen_jobs = observe.jobs(snapshot.jobs, snapshot.pods, metadata["uid"])
        decision = refused(metadata["generation"], problem, seen_jobs, before, now)
        await act(decision, self._effects(snapshot))

    async def _without_origin(
        self, snapshot: Snapshot, run: Run, problem: Problem, before: RunStatus, now: datetime
    ) -> float | None:
        """Ends a forked run or lets it wait; returns after how many seconds to look again."""
        if problem.row.ends_jobs:
            await self._refuse(snapshot, problem, before, now)
            return None
        decision = hindered(run, problem, before, now)
        await act(decision, self._effects(snapshot))
        return decision.look_again_s

    async def _carry_out(
        self,
        decision: Decision,
        snapshot: Snapshot,
        planned: Planned,
        before: RunStatus,
        now: datetime,
    ) -> Decision:
        """Carries a decision out; returns it, or another one if a Job could not be created."""
        effects = self._effects(snapshot, planned)
        try:
            await act(decision, effects)
        except NotCreatedError as error:
            problem = Problem("JobNotCreated", str(error))
        except StoreError as error:
            problem = published.problem(error)
        else:
            return decision
        decision = hindered(planned.run, problem, before, now)
        await act(decision, effects)
        return decision

    def _effects(self, snapshot: Snapshot, planned: Planned | None = None) -> ClusterEffects:
        return ClusterEffects(
            world=self.world,
            memory=self.memory,
            settings=self.settings,
            lender=self.lender,
            snapshot=snapshot,
            planned=planned,
        )

    async def _record(
        self,
        snapshot: Snapshot,
        run: Run,
        status: RunStatus,
        artifacts: Mapping[str, Artifact],
    ) -> None:
        """Writes the run's record beside its artifacts."""
        try:
            await asyncio.to_thread(
                write_record, self.world.store, run.ref, snapshot.run["spec"], status, artifacts
            )
        except StoreError as error:
            log.warning("record not written run=%s error=%s", run.ref.name, error)

    # When to look again.

    def _seconds_to_write(self, run: Run, before: RunStatus, after: RunStatus) -> float | None:
        """Returns in how many seconds a status that can wait is written; None: it is written now."""
        if after == before or not only_detail(before, after):
            return None
        left = self.memory.seconds_to_write(run.ref.uid, self.world.monotonic())
        return left if left > 0 else None

    def _seconds_to_renew(
        self, planned: Planned, seen: tuple[ObservedJob, ...], status: RunStatus
    ) -> float | None:
        """Returns in how many seconds the credentials of a Job are due; None: of none."""
        if self.lender is None or status.phase in FINAL or status.waiting_since:
            return None
        return self.lender.wait(planned, seen)


def status_of(body: Body) -> RunStatus:
    """Returns a run's status; a status that the operator did not write counts as empty."""
    try:
        return RunStatus.model_validate(body.get("status") or {})
    except ValidationError:
        log.warning("status not ours, starting afresh run=%s", body["metadata"]["name"])
        return RunStatus()


def build(settings: Settings, sts: TokenService | None, world: World) -> Reconciler:
    """Returns the reconciler over a world, and has the world forget what belonged to other runs."""
    library, memory = Library(world.store), Memory(settings)
    world.keepers += [library.keep, memory.keep]
    lender = Lender(sts, settings, world) if sts else None
    if lender:
        world.keepers.append(lender.keep)
    return Reconciler(world=world, library=library, memory=memory, settings=settings, lender=lender)
