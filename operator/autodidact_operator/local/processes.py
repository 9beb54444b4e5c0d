"""The worker processes of a local run: what Jobs and pods are on a cluster."""

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from autodidact_contract.task import Progress, Result
from autodidact_operator.plan.types import JobRequest, ObservedJob, ObservedPod, StageProgress


@dataclass(kw_only=True)
class Shard:
    """One shard of an attempt: what is a pod on a cluster.

    Attributes:
        folder: Where it writes.
        process: None until it has begun.
    """

    index: int
    folder: Path
    process: asyncio.subprocess.Process | None = None
    finished_at: datetime | None = None

    def observed(self) -> ObservedPod:
        """Returns the process as the planner sees a pod."""
        code = self.process.returncode if self.process else None
        phase = "Pending" if self.process is None else "Running"
        if code is not None:
            phase = "Failed" if code else "Succeeded"
        return ObservedPod(
            index=self.index,
            phase=phase,  # type: ignore[arg-type]
            finished_at=self.finished_at,
            exit_code=None if code is None else (128 - code if code < 0 else code),
            result=self._result(),
        )

    def _result(self) -> Result | None:
        path = self.folder / "termination"
        try:
            return Result.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError:
            return None

    def progress(self) -> Progress | None:
        """Returns the last line the worker wrote, None before the first."""
        path = self.folder / "progress.jsonl"
        try:
            lines = path.read_bytes().splitlines()
            return Progress.model_validate_json(lines[-1]) if lines else None
        except (OSError, ValidationError):
            return None


@dataclass(kw_only=True)
class Attempt:
    """One attempt of a job of the graph: what is a Job on a cluster.

    Attributes:
        task: Runs the processes; None until it was begun.
        stopping: The processes were told to end.
    """

    name: str
    request: JobRequest
    created_at: datetime
    shards: list[Shard]
    stopping: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether all its processes have ended."""
        return self.task is not None and self.task.done()

    def observed(self) -> ObservedJob:
        """Returns the attempt as the planner sees a Job."""
        started = any(shard.process for shard in self.shards)
        return ObservedJob(
            name=self.name,
            job=self.request.job,
            attempt=self.request.attempt,
            created_at=self.created_at,
            shards=len(self.shards),
            suspended=not started,
            stopping=self.stopping and not self.over,
            pods=tuple(shard.observed() for shard in self.shards),
        )

    def progress(self) -> StageProgress | None:
        """Returns how far the stage is that a worker reported last, None before the first report."""
        reports = [report for shard in self.shards if (report := shard.progress())]
        if not reports:
            return None
        stage = reports[-1].stage
        parts = [r.step / r.total for r in reports if r.stage == stage and r.total]
        share = sum(parts) / max(len(self.shards), 1)
        return StageProgress(stage=stage, fraction=min(share, 1.0))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the processes that run, and to those that they have begun."""
        for shard in self.shards:
            if shard.process and shard.process.returncode is None:
                os.killpg(shard.process.pid, number)
