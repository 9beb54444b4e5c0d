"""What a Job carries and what its worker says: the task, progress, last words, exit codes."""

from typing import Literal

from pydantic import Field, model_validator

from autodidact_contract.artifacts import PROTOCOL
from autodidact_contract.base import Schema
from autodidact_contract.stages import AnyStage


class Input(Schema):
    """Where an input is: a published artifact, or what an earlier stage of this task makes."""

    artifact: str | None = Field(None, description="Folder name <kind>-<key>.")
    digest: str | None = Field(None, description="Digest the artifact must have.")
    stage: str | None = Field(None, description="Name of an earlier stage of the same task.")

    @model_validator(mode="after")
    def _one_source(self) -> "Input":
        published = self.artifact is not None and self.digest is not None
        if published == (self.stage is not None):
            raise ValueError("an input is either an artifact with its digest or an earlier stage")
        return self


class StageTask(Schema):
    """One stage to run."""

    name: str = Field(description="Name in the run's graph, for example judge-1.")
    config: AnyStage
    inputs: dict[str, Input] = {}
    salt: str = ""


class RunRef(Schema):
    """Who asked."""

    kind: str
    namespace: str
    name: str
    uid: str


class Task(Schema):
    """What a Job carries (env AUTODIDACT_TASK): stages that one process runs in order."""

    protocol: Literal[1] = PROTOCOL
    run: RunRef
    job: str = Field(description="Name of the Job in the run's graph, for example sample-1.")
    attempt: int = Field(ge=1)
    shards: int = Field(1, ge=1)
    stages: tuple[StageTask, ...] = Field(min_length=1)


EXIT_PUBLISHED, EXIT_USER, EXIT_RETRY, EXIT_STOPPED = 0, 64, 75, 143
"""Exit codes of a worker: done; the user must act; try again; stopped after saving."""


class Failure(Schema):
    """Why a worker gave up, in one sentence that says what, where and what to do."""

    code: Literal["user", "retry", "stopped"]
    reason: str = Field(description="CamelCase, for conditions: InvalidData, NaNLoss, ...")
    message: str
    stage: str = Field("", description="Name of the stage at work; empty before the first.")


class Result(Schema):
    """A worker's last words (termination message, at most 4096 bytes)."""

    published: dict[str, str] = Field({}, description="Key by stage name.")
    failure: Failure | None = None


class Progress(Schema):
    """What a worker reports while it works."""

    stage: str
    step: int = Field(ge=0)
    total: int = Field(ge=0)
    metrics: dict[str, float] = {}


MAX_RESULT_BYTES = 4096
