"""What the planner sees and says. All values are frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.stages.base import Compute
from autodidact_contract.stages.registry import AnyStage
from autodidact_contract.task import Result, RunRef, Task

Outcome = Literal["Stop", "Fail", "Warn"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A gate on one stage's published counts and metrics.

    The figure is ``counts[numerator] / counts[denominator]``, or ``counts[numerator]`` without a
    denominator, or ``metrics[metric]``. A count that is not there is 0, and so is a share of
    nothing; a metric that is a mean of nothing is below every minimum but 0, and above every
    maximum.

    Stop and Fail skip what follows from the stage; Warn is only said, as the condition Degraded.

    Attributes:
        rejects: The stage's input ``model`` is then none of the run's good ones.
    """

    reason: str
    figure: str
    limit: float
    at_least: bool
    action: Outcome
    numerator: str = ""
    denominator: str = ""
    metric: str = ""
    advice: str = ""
    rejects: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A node of the graph: what to run, on what, after what.

    Attributes:
        name: Unique in the graph, ends in the iteration's number where it has one.
        inputs: Name of the producing stage by input name.
        after: Stages that must be done first although nothing is read from them.
        job: Stages of one job run in one process, in graph order.
        partial: Runs with whatever inputs there are once all others are done or skipped.
        job_compute: What the job needs, where that is more than this stage of it needs.
    """

    name: str
    config: AnyStage
    job: str
    iteration: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    shards: int = 1
    checks: tuple[Check, ...] = ()
    partial: bool = False
    salt: str = ""
    secret: str | None = None
    job_compute: Compute | None = None

    @property
    def compute(self) -> Compute:
        """What the stage's job needs."""
        return self.job_compute or self.config.COMPUTE

    @property
    def training(self) -> bool:
        """Whether the stage trains a model."""
        return self.config.COMPUTE == "train"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the history: a model and what is measured on it.

    Attributes:
        iteration: Its number; 0 is the warm-up.
        name: What made the model.
        model: Stage that makes it.
        figures: Stage and name of a count or metric, or names of counts for a column of several,
            by field of ``Iteration``.
    """

    iteration: int
    name: str
    model: str
    figures: Mapping[str, tuple[str, str | tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole run, written down before anything ran. Stages are in an order that can be run.

    Attributes:
        models: Stage that makes M(t), by t; 1 is the warm-up's.
        iterations: Number of rounds after the warm-up.
        lines: The history, the run's own last model last.
    """

    stages: tuple[Stage, ...]
    models: Mapping[int, str]
    iterations: int
    lines: tuple[Line, ...] = ()

    def __getitem__(self, name: str) -> Stage:
        """Returns the stage of that name."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Stage]:
        """Stages by name, in order."""
        return {stage.name: stage for stage in self.stages}


@dataclass(frozen=True, kw_only=True)
class ObservedPod:
    """A pod of one of our Jobs.

    Attributes:
        last_words: The end of its log, where its worker could not say why it ended.
        reason: Why the kubelet ended or refused it, where that is not its container's doing.
        message: The same in a sentence.
    """

    index: int
    phase: Literal["Pending", "Running", "Succeeded", "Failed"]
    finished_at: datetime | None = None
    exit_code: int | None = None
    container_reason: str = ""
    result: Result | None = None
    last_words: str = ""
    disrupted: bool = False
    reason: str = ""
    message: str = ""
    waiting: str = ""
    waiting_message: str = ""


@dataclass(frozen=True, kw_only=True)
class ObservedJob:
    """One attempt of one job of the graph.

    Attributes:
        started_at: When it was let go, if that is known: a queue may have held it back for long.
        suspended: Held back by a queue; waiting there counts neither as start nor as failure.
        ended: The Job's own verdict, which comes later than its pods'.
        stopping: It is being deleted.
        message: Why the Job could not create pods, or why it failed as a whole.
    """

    name: str
    job: str
    attempt: int
    created_at: datetime
    started_at: datetime | None = None
    shards: int = 1
    suspended: bool = False
    stopping: bool = False
    ended: Literal["", "Complete", "Failed"] = ""
    reason: str = ""
    message: str = ""
    pods: tuple[ObservedPod, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far a stage is, as its workers told it; ``fraction`` is from 0 to 1."""

    stage: str
    fraction: float
    eta_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run object's own data."""

    ref: RunRef
    spec: RunSpec
    generation: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything a decision depends on beside the run.

    Attributes:
        artifacts: What is published, by stage name.
        problem: Why nothing can be created now (unknown ComputeProfile, store out of reach, ...):
            a reason and a sentence, or None.
        enlargeable: ComputeProfiles with a larger size for what ran out of memory.
    """

    jobs: tuple[ObservedJob, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    progress: Report | None = None
    problem: tuple[str, str] | None = None
    enlargeable: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A Job to create."""

    job: str
    attempt: int
    task: Task
    profile: str
    shards: int
    training: bool
    larger: bool = False
    secret: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """An Event on the run."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, in this order: delete, create, write the status, tell."""

    status: RunStatus
    create: tuple[JobRequest, ...] = ()
    delete: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
