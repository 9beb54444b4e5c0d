"""What the planner is given and what it returns. All values are frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.stages import AnyStage
from autodidact_contract.stages.base import Compute
from autodidact_contract.task import Result, RunRef, Task
from autodidact_operator.plan.problems import Problem

Outcome = Literal["Stop", "Fail", "Warn"]

FINAL = ("Succeeded", "Failed")
"""The phases that a run does not leave."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A gate on one stage's published counts and metrics.

    The figure is ``counts[numerator] / counts[denominator]``, or ``counts[numerator]`` without a
    denominator, or ``metrics[metric]``. A count that is not there is 0, and so is a share of
    nothing; a metric that is a mean of nothing is below every minimum but 0, and above every
    maximum.

    Stop and Fail skip what depends on the stage; Warn only sets the condition Degraded.

    Attributes:
        rejects: If the check trips, the stage's input ``model`` is not shown as the run's model.
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
        after: Stages that must be done first, although this one reads nothing from them.
        job: Stages of one job run in one process, in graph order.
        partial: Runs once all other stages are done or skipped, with the inputs that there are.
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
    """A whole run, known before anything runs. Its stages are in an order in which they can run.

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

    @cached_property
    def by_name(self) -> Mapping[str, Stage]:
        """Stages by name, in order."""
        return {stage.name: stage for stage in self.stages}


@dataclass(frozen=True, kw_only=True)
class ObservedPod:
    """A pod of one of our Jobs.

    Attributes:
        last_words: The end of its log, if its worker wrote no result.
        reason: Why the kubelet ended or refused the pod, if it was not its container that ended.
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
        started_at: When it could begin, if that is known; a queue may have held it back before.
        suspended: A queue holds it back; the time in the queue does not count.
        ended: The Job's own condition, which comes later than the ends of its pods.
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
class StageProgress:
    """How far a stage is, as its workers reported; ``fraction`` is from 0 to 1."""

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
    """Everything that a decision depends on, apart from the run.

    Attributes:
        artifacts: What is published, by stage name.
        problem: Why no Job can be created now, if something hinders that.
        enlargeable: ComputeProfiles with a larger size for what ran out of memory.
    """

    jobs: tuple[ObservedJob, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    progress: StageProgress | None = None
    problem: Problem | None = None
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
    """What to do, in this order: delete, create, write the status, post the Events.

    Attributes:
        wake_at: When to decide again if nothing happens before.
        problem: What hinders the run after this decision.
    """

    status: RunStatus
    create: tuple[JobRequest, ...] = ()
    delete: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
    problem: Problem | None = None

    @property
    def look_again_s(self) -> float | None:
        """Seconds after which a hindered run is to be looked at again; None if nothing hinders it."""
        if self.problem is None or self.status.phase in FINAL:
            return None
        return self.problem.row.look_again_s
