"""One config per stage, and what a Job carries: a task of one or more stages.

A config holds everything that may change a stage's output, fully resolved, and nothing else: it is
hashed into the stage key. Where the artifacts lie, how many shards there are and who asked is in
the task around it.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autodidact_contract.artifacts import PROTOCOL
from autodidact_contract.base import Schema

INSTRUCTIONS, EVALUATIONS, RANKED = "instructions", "evaluations", "ranked"
RUBRICS = ("additive-v1", "toy-copy-v1")
"""Versioned template sets: the judge's rubric, its parser's scale, and the prompt writer's form."""


class StageConfig(Schema):
    """What every stage config has: its kind (the discriminator) and the seed of its noise."""

    seed: int = 0


class Sampling(Schema):
    """How tokens are drawn."""

    temperature: float = Field(gt=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1, le=131072)


class Import(StageConfig):
    """Brings a model or a data set into the store after checking its format. Inputs: none."""

    stage: Literal["import"] = "import"
    uri: str
    content: Literal["model", "instructions", "evaluations", "ranked"]


class Training(StageConfig):
    """What SFT and DPO share. Learning rates are per optimiser step, sizes are global."""

    learning_rate: float
    final_learning_rate: float
    schedule: Literal["cosine", "linear", "constant"]
    warmup_steps: int
    epochs: float
    batch_size: int
    micro_batch_size: int | None = None
    max_length: int
    dropout: float
    weight_decay: float
    max_grad_norm: float


class TrainSft(Training):
    """M1: SFT on instructions and judgements, mixed. Inputs: model, instructions, evaluations?."""

    stage: Literal["train-sft"] = "train-sft"
    rubric: str


class TrainDpo(Training):
    """M(t+1) from M(t) by DPO. Inputs: model (start and frozen reference), pairs."""

    stage: Literal["train-dpo"] = "train-dpo"
    beta: float
    nll_coefficient: float


class GeneratePrompts(StageConfig):
    """New prompts by few-shot. Inputs: model (the writer), instructions, accepted-<n> (earlier)."""

    stage: Literal["generate-prompts"] = "generate-prompts"
    rubric: str
    count: int
    sampling: Sampling
    seed_demonstrations: int
    generated_demonstrations: int
    min_words: int
    max_words: int
    excluded_words: tuple[str, ...]
    max_rouge: float
    attempts_per_prompt: int


class GenerateResponses(StageConfig):
    """Replies to prompts. Inputs: model, prompts. Sharded."""

    stage: Literal["generate-responses"] = "generate-responses"
    per_prompt: int
    sampling: Sampling


class Judge(StageConfig):
    """Votes on replies. Inputs: model, responses. Sharded."""

    stage: Literal["judge"] = "judge"
    rubric: str
    votes: int
    min_valid: int
    allow_fractional: bool
    sampling: Sampling


class BuildPairs(StageConfig):
    """Best and worst reply of each prompt. Inputs: judged."""

    stage: Literal["build-pairs"] = "build-pairs"
    tie_break: Literal["random", "shortest", "lowest-variance"]
    min_score_gap: float
    exclude_truncated: bool


class Evaluate(StageConfig):
    """How good a model judges and answers. Inputs: model, heldout, previous?, opponent judge?.

    Without ``previous`` there are no battles. ``referee`` is the input that judges battles when
    ``judge`` is ``model``. Sharded by held-out prompt.
    """

    stage: Literal["evaluate"] = "evaluate"
    rubric: str
    votes: int
    min_valid: int
    allow_fractional: bool
    judge_sampling: Sampling
    reply_sampling: Sampling
    judge: Literal["model", "oracle"]
    prompts: int = Field(description="Battles at most: the first so many held-out prompts.")


class Report(StageConfig):
    """One offline HTML page. Inputs: every finished stage of the run under its stage name."""

    stage: Literal["report"] = "report"
    title: str


AnyStage = Annotated[
    Import
    | TrainSft
    | TrainDpo
    | GeneratePrompts
    | GenerateResponses
    | Judge
    | BuildPairs
    | Evaluate
    | Report,
    Field(discriminator="stage"),
]

SHARDED = frozenset({"generate-responses", "judge", "evaluate"})
"""Stage kinds whose items can be split over the pods of one Indexed Job."""


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
