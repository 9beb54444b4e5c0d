"""A run on one machine: the same graph, decisions, artifacts and workers as on a cluster.

A Job is a group of processes here. Images, resources and ComputeProfiles are ignored, and attempts
are counted from 1 in every invocation. Everything that was published before is adopted, whether by
an earlier invocation or by a run on a cluster with the same store.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from autodidact_contract import environment
from autodidact_contract.api.run import Origin
from autodidact_contract.api.status import RunStatus
from autodidact_contract.base import GROUP, digest
from autodidact_contract.task import RunRef
from autodidact_operator.local.processes import Attempt, Shard
from autodidact_operator.plan import forking
from autodidact_operator.plan.decide import decide, refused
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.recipes import Recipe, graph_of
from autodidact_operator.plan.types import (
    FINAL,
    Decision,
    Event,
    Graph,
    JobRequest,
    Observed,
    Run,
    StageProgress,
)
from autodidact_operator.runs.effects import act
from autodidact_operator.runs.published import Library, busy
from autodidact_operator.runs.record import last_status, write_record
from autodidact_store.protocol import Store

KILL_AFTER_S = 120.0
"""Seconds a worker has to save its state after SIGTERM, as in a pod."""

POLL_S = 0.5
"""Seconds between looks at the workers' progress."""

Observer = Callable[[RunStatus, tuple[Event, ...]], None]
"""Called with every new status and the Events that go with it."""


class InterruptedRunError(Exception):
    """The run was interrupted and can be taken up again."""


@dataclass(kw_only=True)
class LocalRun:
    """One run, from start to end.

    Attributes:
        store: Where artifacts go.
        environment: What workers inherit; holds the store's address and credentials.
        parallel: Processes at the same time.
        observer: Called with every new status.
    """

    recipe: Recipe
    ref: RunRef
    spec: Any
    body: Mapping[str, Any]
    store: Store
    environment: Mapping[str, str]
    folder: Path
    observer: Observer
    parallel: int = 1
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _status: RunStatus = field(default_factory=RunStatus)
    _events: list[Event] = field(default_factory=list)
    _interrupted: bool = False

    async def run(self) -> RunStatus:
        """Runs to the end and returns the final status.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM; the workers have saved and ended.
            StoreError: The store does not answer, or not as it should.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        self._slots = asyncio.Semaphore(self.parallel)
        library = Library(self.store)
        run = Run(ref=self.ref, spec=self.spec, generation=1, created_at=datetime.now(UTC))
        origin = await asyncio.to_thread(self._origin)
        if isinstance(origin, Problem):
            await act(refused(1, origin, (), self._status, datetime.now(UTC)), self)
            return self._status
        self._status = self._status.model_copy(update={"origin": origin})
        graph = graph_of(self.recipe, self.spec, self._salt(), origin)
        try:
            while not self._interrupted:
                decision = await self._step(graph, run, library)
                if self._status.phase in FINAL:
                    return self._status
                await self._wait(decision)
            raise InterruptedRunError
        finally:
            await self._end()

    def _origin(self) -> str | Problem:
        """Returns the artifact that a forked run starts from, by the records in the store."""
        wanted: Origin | None = self.spec.parent
        if wanted is None:
            return ""
        parent = last_status(self.store, self.ref.namespace, self.ref.kind, wanted.run)
        return forking.find(wanted, self.ref.name, parent)

    def _salt(self) -> str:
        """Returns the salt of imports whose location may change: every invocation reads them again."""
        return f"{self.ref.uid}/{datetime.now(UTC).isoformat()}"

    async def _step(self, graph: Graph, run: Run, library: Library) -> Decision:
        self._changed.clear()
        seen_jobs = tuple(attempt.observed() for attempt in self._attempts.values())
        artifacts = await library.artifacts(run.ref.uid, run.ref.namespace, graph, busy(seen_jobs))
        seen = Observed(jobs=seen_jobs, artifacts=artifacts, progress=self._progress())
        decision = decide(graph, run, seen, self._status, datetime.now(UTC))
        self._events.clear()
        await act(decision, self)
        if self._status.phase in FINAL:
            await asyncio.to_thread(
                write_record,
                self.store,
                self.ref,
                self.body["spec"],
                self._status,
                artifacts,
            )
        self.observer(self._status, tuple(self._events))
        return decision

    async def _wait(self, decision: Decision) -> None:
        """Waits for the end of a process, for the decision's time, or to look at progress."""
        seconds = POLL_S
        if decision.wake_at:
            seconds = min(
                seconds, max((decision.wake_at - datetime.now(UTC)).total_seconds(), 0.01)
            )
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _interrupt(self) -> None:
        """Tells the workers to save and end; a second signal kills them."""
        number = signal.SIGKILL if self._interrupted else signal.SIGTERM
        self._interrupted = True
        for attempt in self._attempts.values():
            attempt.signal(number)
        self._changed.set()

    async def _end(self) -> None:
        """Leaves no process behind."""
        tasks = [attempt.task for attempt in self._attempts.values() if attempt.task]
        for attempt in self._attempts.values():
            attempt.signal(signal.SIGTERM)
            if attempt.task and not any(shard.process for shard in attempt.shards):
                attempt.task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=KILL_AFTER_S)
            for attempt in self._attempts.values():
                if attempt.task in late:
                    attempt.signal(signal.SIGKILL)
            if late:
                await asyncio.wait(late)

    # The Effects of a decision.

    async def create(self, request: JobRequest) -> None:
        """Starts the processes of a Job as soon as there is room."""
        name = job_name(self.ref, request.job, request.attempt)
        folder = self.folder / f"{request.job}-{request.attempt}"
        attempt = Attempt(
            name=name,
            request=request,
            created_at=datetime.now(UTC),
            shards=[
                Shard(index=index, folder=folder / str(index)) for index in range(request.shards)
            ],
        )
        self._attempts[name] = attempt
        attempt.task = asyncio.create_task(self._execute(attempt))

    async def delete(self, name: str) -> None:
        """Tells the processes of a Job to stop."""
        if (attempt := self._attempts.get(name)) and not attempt.over:
            attempt.stopping = True
            attempt.signal(signal.SIGTERM)

    async def write(self, status: RunStatus) -> None:
        """Keeps the status."""
        self._status = status

    def event(self, event: Event) -> None:
        """Keeps the event for the observer."""
        self._events.append(event)

    async def _execute(self, attempt: Attempt) -> None:
        async with asyncio.TaskGroup() as group:
            for shard in attempt.shards:
                group.create_task(self._shard(attempt, shard))

    async def _shard(self, attempt: Attempt, shard: Shard) -> None:
        async with self._slots:
            if self._interrupted or attempt.stopping:
                return
            shard.folder.mkdir(parents=True, exist_ok=True)
            with (shard.folder / "log").open("wb") as log:
                shard.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "autodidact_worker",
                    env=self._environment(attempt.request, shard),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # In a group of its own, so that Ctrl-C does not reach it directly as well.
                    start_new_session=True,
                )
                self._changed.set()
                await shard.process.wait()
            shard.finished_at = datetime.now(UTC)
            if shard.process.returncode:
                # As in an Indexed Job without retries: one failure ends all shards.
                attempt.signal(signal.SIGTERM)
            self._changed.set()

    def _environment(self, request: JobRequest, shard: Shard) -> dict[str, str]:
        scratch = shard.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {
            **self.environment,
            environment.TASK: request.task.model_dump_json(by_alias=True, exclude_none=True),
            environment.STORE: self.store.uri,
            environment.SCRATCH: str(scratch),
            environment.PROGRESS_FILE: str(shard.folder / "progress.jsonl"),
            "TERMINATION_LOG": str(shard.folder / "termination"),
            "JOB_COMPLETION_INDEX": str(shard.index),
            **({environment.WORLD_SIZE: "1"} if request.training else {}),
        }

    def last_words(self, job: str, lines: int) -> str:
        """Returns the end of the log of a job's last attempt, empty where there is none."""
        attempts = [a for a in self._attempts.values() if a.request.job == job]
        if not attempts:
            return ""
        last = max(attempts, key=lambda attempt: attempt.request.attempt)
        failed = next((p for p in last.shards if p.process and p.process.returncode), None)
        path = (failed or last.shards[0]).folder / "log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def _progress(self) -> StageProgress | None:
        """Returns how far the stage is that a worker reported last."""
        at_work = (attempt for attempt in reversed(self._attempts.values()) if not attempt.over)
        return next((found for attempt in at_work if (found := attempt.progress())), None)


def run_ref(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> RunRef:
    """Returns the identity of a local run: the same manifest is the same run."""
    identity = uuid5(NAMESPACE_URL, f"{GROUP}/{kind}/{namespace}/{name}/{digest(spec)}")
    return RunRef(kind=kind, namespace=namespace, name=name, uid=str(identity))
