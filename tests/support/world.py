"""A small world around ``decide``: Jobs, pods, a store, and an operator that may lag or forget.

What is modelled is what a decision may rest on. The operator sees its own writes at once and the
store as it is, but may see the rest of the cluster as it was; after a restart it sees all afresh.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.status import JobStatus, RunStatus
from autodidact_contract.artifacts import Artifact, stage_key
from autodidact_contract.task import Input, StageTask
from autodidact_operator.plan.attempts import over
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import frontier
from autodidact_operator.plan.types import (
    FINAL,
    Decision,
    JobRequest,
    Observed,
    ObservedJob,
    ObservedPod,
    Run,
)
from autodidact_operator.runs.published import busy
from support import builders


@dataclass(kw_only=True)
class Job:
    """A Job as it really is."""

    request: JobRequest
    seen: ObservedJob

    @property
    def open_pods(self) -> list[ObservedPod]:
        """Its pods that have not ended."""
        return [pod for pod in self.seen.pods if pod.phase in ("Pending", "Running")]

    @property
    def alive(self) -> bool:
        """Whether it may still do something."""
        return not over(self.seen)


@dataclass(kw_only=True)
class World:
    """One run and everything it lives in."""

    spec: RunSpec
    now: datetime = builders.NOW
    status: RunStatus = field(default_factory=RunStatus)
    generation: int = 1
    problem: Problem | None = None
    enlargeable: frozenset[str] = frozenset()
    jobs: dict[str, Job] = field(default_factory=dict)
    store: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    created: list[tuple[str, int]] = field(default_factory=list)
    known: dict[str, Artifact] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    lagging: dict[str, ObservedJob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = builders.graph(self.spec)

    @property
    def run(self) -> Run:
        """The run object's data."""
        return builders.run(self.spec, self.generation)

    @property
    def done(self) -> bool:
        """Whether the run has ended, as its status says."""
        return self.status.phase in FINAL

    def edit(self, **changes: Any) -> None:
        """Edits the run's spec."""
        self.spec = self.spec.model_copy(update=changes)
        self.generation += 1

    def books(self, name: str) -> JobStatus:
        """Returns what the status says about a job."""
        return next(entry for entry in self.status.jobs if entry.name == name)

    def live(self, name: str) -> Job:
        """Returns the Job that works on a job of the graph."""
        return next(j for j in self.jobs.values() if j.request.job == name and j.alive)

    # What the operator sees.

    def lag(self) -> None:
        """From now on the operator sees the Jobs as they are now."""
        self.lagging = {name: job.seen for name, job in self.jobs.items()}

    def catch_up(self) -> None:
        """The operator sees the Jobs as they are."""
        self.lagging = {}

    def restart(self) -> None:
        """The operator forgets everything that is not in the status."""
        self.known, self.asked, self.lagging = {}, set(), {}

    def observed(self) -> Observed:
        """Returns what the operator sees now; looking in the store is a part of it."""
        current = {name: job.seen for name, job in self.jobs.items()}
        found = tuple({**current, **self.lagging}.values())
        if not self.done:
            self._look_up(busy(found))
        artifacts = {} if self.done else dict(self.known)
        return Observed(
            jobs=found, artifacts=artifacts, problem=self.problem, enlargeable=self.enlargeable
        )

    def _look_up(self, busy: frozenset[str]) -> None:
        seen_now: set[str] = set()
        while wanted := {
            name: place
            for name, place in frontier(self.graph, self.known).items()
            if name not in seen_now and (name not in self.asked or self.graph[name].job not in busy)
        }:
            seen_now.update(wanted)
            self.asked.update(wanted)
            found = {
                name: self.store[place] for name, place in wanted.items() if place in self.store
            }
            self.known.update(found)

    # What the operator does.

    def step(self, *, lose_status: bool = False) -> Decision:
        """Decides and carries it out; the operator may be killed before it wrote the status."""
        decision = decide(self.graph, self.run, self.observed(), self.status, self.now)
        self.carry_out(decision, lose_status=lose_status)
        return decision

    def carry_out(self, decision: Decision, *, lose_status: bool = False) -> None:
        """Deletes, creates, writes."""
        for name in decision.delete:
            if name in self.jobs:
                self.change(name, stopping=True)
            else:
                self.lagging.pop(name, None)
        for request in decision.create:
            self._create(request)
        if lose_status:
            self.restart()
        else:
            self.status = RunStatus.model_validate(decision.status.dump())

    def _create(self, request: JobRequest) -> None:
        name = job_name(builders.ref(), request.job, request.attempt)
        assert name not in self.jobs, f"{name} is there already"
        for task in request.task.stages:
            stage = self.graph[task.name]
            assert stage.partial or task.inputs.keys() == stage.inputs.keys()
            own = {other.name for other in request.task.stages}
            assert own.union(self.known).issuperset(stage.after)
            for place in task.inputs.values():
                self._check_published(place)
        self.created.append((request.job, request.attempt))
        seen = ObservedJob(
            name=name,
            job=request.job,
            attempt=request.attempt,
            created_at=self.now,
            shards=request.shards,
        )
        self.jobs[name] = Job(request=request, seen=seen)

    def _check_published(self, place: Input) -> None:
        if place.artifact is not None:
            kind, _, key = place.artifact.rpartition("-")
            assert self.store[kind, key].digest == place.digest

    # What happens.

    def change(self, name: str, **fields: Any) -> None:
        """Changes a Job; what the operator does to it, it sees."""
        self.jobs[name].seen = replace(self.jobs[name].seen, **fields)
        if name in self.lagging and fields.keys() == {"stopping"}:
            self.lagging[name] = replace(self.lagging[name], **fields)

    def vanish(self, name: str) -> None:
        """A Job is gone, with its pods."""
        del self.jobs[name]

    def start(self, name: str) -> None:
        """All pods of a Job run."""
        job = self.jobs[name]
        ended = {pod.index: pod for pod in job.seen.pods}
        pods = [ended.get(i, builders.pod(index=i)) for i in range(job.seen.shards)]
        running = [replace(p, phase="Running") if p.phase == "Pending" else p for p in pods]
        self.change(name, pods=tuple(replace(p, waiting="") for p in running))

    def wait(self, name: str, reason: str) -> None:
        """The pods of a Job cannot start."""
        shards = range(self.jobs[name].seen.shards)
        pods = (builders.pod("Pending", i, waiting=reason, waiting_message="why") for i in shards)
        self.change(name, pods=tuple(pods))

    def end_pod(self, name: str, index: int, **fields: Any) -> None:
        """One pod ends; with the last successful one the Job's stages are published."""
        job = self.jobs[name]
        pods = {pod.index: pod for pod in job.seen.pods}
        fields = {"finished_at": self.now, **fields}
        pods[index] = builders.pod(index=index, **fields)
        self.change(name, pods=tuple(pods.values()))
        if sum(pod.phase == "Succeeded" for pod in pods.values()) == job.seen.shards:
            self.publish(job.request.task.stages)

    def succeed(self, name: str) -> None:
        """All pods of a Job end well."""
        self.start(name)
        for pod in self.jobs[name].open_pods:
            self.end_pod(name, pod.index, phase="Succeeded")

    def fail(self, name: str, **fields: Any) -> None:
        """A pod of a Job fails; the others are ended by Kubernetes for it."""
        self.start(name)
        first, *others = self.jobs[name].open_pods
        self.end_pod(name, first.index, phase="Failed", **fields)
        for pod in others:
            self.end_pod(name, pod.index, phase="Failed", finished_at=self.now + _MOMENT)

    def publish(self, tasks: tuple[StageTask, ...]) -> None:
        """Stages publish what they made; of two twins the first wins."""
        made: dict[str, Artifact] = {}
        for task in tasks:
            inputs = {
                name: made[place.stage].digest if place.stage else place.digest or ""
                for name, place in task.inputs.items()
            }
            kind, key = task.config.stage, stage_key(task.config.dump(), inputs, task.salt)
            fresh = builders.healthy(kind, key, **self.figures.get(task.name, {}))
            made[task.name] = self.store.setdefault((kind, key), fresh)

    def play(self, limit: int = 100) -> None:
        """Lets everything go well until the run has ended."""
        for _ in range(limit):
            self.step()
            if self.done:
                return
            for name, job in list(self.jobs.items()):
                if job.seen.stopping:
                    self.vanish(name)
                elif job.alive:
                    self.succeed(name)
            self.now += timedelta(seconds=1)
        raise AssertionError(f"not done: {self.status.stage} {self.status.conditions[0]}")


_MOMENT = timedelta(seconds=2)
