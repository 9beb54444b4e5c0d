"""One config per stage, and what a Job carries: a task of one or more stages.

A config holds everything that may change a stage's output, fully resolved, and nothing else: it is
hashed into the stage key. Where the artifacts lie, how many shards there are and who asked is in
the task around it.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autodidact_contract.artifacts import PROTOCOL
from autodidact_contract.base import Schema
from autodidact_contract.training import Lora

RUBRICS = ("additive-v1", "toy-copy-v1")
"""Versioned template sets: the judge's rubric, its parser's scale, and the prompt writer's form."""


class StageConfig(Schema):
    """What every stage config has: its kind (the discriminator) and the seed of its noise."""

    seed: int = 0


class Sampling(Schema):
    """How tokens are drawn; at temperature 0 the most likely one is taken (greedy)."""

    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1, le=131072)


class Import(StageConfig):
    """Brings a model or a data set into the store after checking its format. Inputs: none."""

    stage: Literal["import"] = "import"
    uri: str
    content: Literal["model", "instructions", "evaluations", "ranked", "questions"]


class Answers(Schema):
    """How an answer is read out of a completion, and when it equals the gold answer.

    Attributes:
        rules: ``rcCompat`` is the published ReFT code to the letter, ``robust`` what people mean.
        kind: What an answer is.
        percent: Whether "18%" is 18 (``strip``) or no number (``reject``); robust numbers only.
        latex: Whether texts are also compared as formulas, by math-verify in a process of its own.
        reasoning: ``language``: the text after the last trigger; ``program``: what ``solution()``
            returns, run in the sandbox.
    """

    rules: Literal["rcCompat", "robust"]
    kind: Literal["number", "choice", "text"]
    percent: Literal["strip", "reject"] = "reject"
    latex: bool = False
    reasoning: Literal["language", "program"] = "language"
    program_seconds: float = Field(10.0, gt=0, description="Wall clock limit of one program.")


class Reward(Schema):
    """The terminal reward (arXiv 2401.08967 section 3.1): 1 right, ``partial`` readable, else 0.

    Attributes:
        partial: Reward of a wrong answer that could be read.
        partial_when: ``numeric``: of answers of kind number only, as the paper says; ``always``: as
            the published code does.
        missing_eos_penalty: Subtracted from the reward of an answer that was cut.
    """

    partial: float = Field(ge=0, lt=1)
    partial_when: Literal["numeric", "always"]
    missing_eos_penalty: float = Field(0.0, ge=0)


class Validation(Schema):
    """Accuracy on the validation split while a model is trained, by greedy decoding.

    Attributes:
        every_epochs: Passes over the training rows between two measurements; one more is always
            made at the end, and one before the first step.
        questions: Validation questions at most: the first so many.
        max_new_tokens: Tokens of an answer at most.
        until: Training ends at the first measurement that is at least this; None: never early.
        keep: ``best``: the result is the model of the best measurement, the earlier of equals;
            ``last``: the model as it is when training ends.
    """

    every_epochs: float = Field(gt=0)
    questions: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    answers: Answers
    until: float | None = Field(None, ge=0, le=1)
    keep: Literal["best", "last"] = "best"


class Training(StageConfig):
    """What all training stages share. Learning rates are per optimiser step, sizes are global.

    Attributes:
        epochs: Length of the schedule, in passes over the rows.
        warmup_ratio: Share of the schedule in which the rate rises; counts where ``warmup_steps``
            is 0.
        lora: Train adapters instead of all weights.
    """

    learning_rate: float
    final_learning_rate: float
    schedule: Literal["cosine", "linear", "constant"]
    warmup_steps: int
    warmup_ratio: float = 0.0
    epochs: float
    batch_size: int
    micro_batch_size: int | None = None
    max_length: int
    dropout: float
    weight_decay: float
    max_grad_norm: float
    lora: Lora | None = None


class TrainSft(Training):
    """SFT on whatever rows there are, mixed.

    Inputs: model; instructions?, evaluations? (self-rewarding), questions? (ReFT); validation? with
    ``validation``.

    Attributes:
        rubric: Renders judgements; needed with the input evaluations.
        stop_epochs: Training ends after so many passes although its schedule is ``epochs`` long:
            the warm-up of arXiv 2401.08967 is an early checkpoint of a 40-epoch run.
        validation: Accuracy on the way, see there.
    """

    stage: Literal["train-sft"] = "train-sft"
    rubric: str | None = None
    stop_epochs: float | None = None
    validation: Validation | None = None


class TrainDpo(Training):
    """M(t+1) from M(t) by DPO. Inputs: model (start and frozen reference), pairs."""

    stage: Literal["train-dpo"] = "train-dpo"
    beta: float
    nll_coefficient: float


class Online(Training):
    """What stages share that learn from answers they sample on the way.

    ``epochs`` are visits to each question and ``batch_size`` counts questions. Inputs: model (start
    and frozen reference), questions, validation.

    Attributes:
        sampling: Of the answers; ``max_new_tokens`` is what is left of ``max_length`` if larger.
        passes: Passes over each batch of answers.
    """

    sampling: Sampling
    answers: Answers
    validation: Validation
    passes: int = Field(ge=1)


class Reinforced(Online):
    """What PPO and GRPO share. Inputs: see ``Online``.

    Attributes:
        beta: Weight of the KL from the reference: in the reward (PPO), in the loss (GRPO).
        clip_ratio: Epsilon of the clipped policy loss.
        max_kl: Training ends, keeping the best model, when a rollout's mean KL of an answer, in
            nats, is larger; None: never.
    """

    reward: Reward
    beta: float
    clip_ratio: float
    max_kl: float | None = None


class TrainPpo(Reinforced):
    """ReFT's policy by PPO (arXiv 2401.08967 section 3.2). Inputs: see ``Online``.

    Attributes:
        mini_batch_size: Answers of an optimiser step; None: the whole batch.
        gamma: Discount.
        gae_lambda: Lambda of generalised advantage estimation.
        clip_value: Range of the clipped value loss.
        value_coefficient: Weight of the value loss.
        value_head: ``random``: as the published code initialises it; ``zero``: all zeros.
        value_network: ``shared`` backbone with the policy, or a ``separate`` copy.
        value_warmup_steps: First rollouts that learn the value head only.
    """

    stage: Literal["train-ppo"] = "train-ppo"
    mini_batch_size: int | None = None
    gamma: float
    gae_lambda: float
    clip_value: float
    value_coefficient: float
    value_head: Literal["random", "zero"] = "random"
    value_network: Literal["shared", "separate"] = "shared"
    value_warmup_steps: int = 0


class TrainOnlineSt(Online):
    """Online self-training: half the loss on right samples, half on gold; no negatives, no KL.

    Inputs: see ``Online``. Source: arXiv 2401.08967 section 4.2.
    """

    stage: Literal["train-online-st"] = "train-online-st"


class TrainGrpo(Reinforced):
    """GRPO (arXiv 2402.03300) by TRL. Inputs: see ``Online``; ``passes`` is its mu.

    Attributes:
        group_size: Answers per question.
    """

    stage: Literal["train-grpo"] = "train-grpo"
    group_size: int = Field(ge=2)


class TrainReranker(Training):
    """Outcome classifier on sampled answers (arXiv 2401.08967 section 4.3).

    Inputs: model (to start from), samples.
    """

    stage: Literal["train-reranker"] = "train-reranker"


class PrepareQuestions(StageConfig):
    """Checks questions and renders them as prompts and targets. Reads no weights.

    Inputs: questions, model (its tokenizer alone is read), others? (an earlier split, to count what
    overlaps).

    Attributes:
        split: What the questions are for; ``train`` needs their reasoning.
        max_question_tokens: Longer prompts are refused, naming them.
        max_length: Prompt and target together; longer rows are counted.
    """

    stage: Literal["prepare-questions"] = "prepare-questions"
    split: Literal["train", "validation", "test"]
    answers: Answers
    max_question_tokens: int
    max_length: int


class Sample(StageConfig):
    """Answers to questions, each with the value read out of it. Inputs: model, questions. Sharded.

    Attributes:
        per_question: Sampled answers of each question; 0: none.
        greedy: Whether one greedy answer is written as well, with index -1.
    """

    stage: Literal["sample"] = "sample"
    per_question: int = Field(ge=0)
    greedy: bool
    sampling: Sampling
    answers: Answers


class BuildSelfTraining(StageConfig):
    """Offline self-training's rows: right samples, each text once, and the gold rows. No torch.

    Inputs: samples, questions. Source: arXiv 2401.08967 section 4.2.

    Attributes:
        keep: Right samples of a question at most.
    """

    stage: Literal["build-self-training"] = "build-self-training"
    keep: int = Field(ge=1)


class EvaluateAnswers(StageConfig):
    """Greedy and majority-vote accuracy. Inputs: samples. Sharded. No torch.

    Source: arXiv 2401.08967 section 4.3.
    """

    stage: Literal["evaluate-answers"] = "evaluate-answers"
    answers: Answers


class RerankAnswers(StageConfig):
    """Accuracy of the answer that the reranker likes best. Inputs: samples, reranker. Sharded.

    Source: arXiv 2401.08967 section 4.3.
    """

    stage: Literal["rerank-answers"] = "rerank-answers"
    answers: Answers
    max_length: int = Field(description="Tokens of prompt and answer that the reranker reads.")


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
    | TrainPpo
    | TrainOnlineSt
    | TrainGrpo
    | TrainReranker
    | PrepareQuestions
    | Sample
    | BuildSelfTraining
    | EvaluateAnswers
    | RerankAnswers
    | GeneratePrompts
    | GenerateResponses
    | Judge
    | BuildPairs
    | Evaluate
    | Report,
    Field(discriminator="stage"),
]

SHARDED = frozenset(
    {
        "generate-responses",
        "judge",
        "evaluate",
        "sample",
        "evaluate-answers",
        "rerank-answers",
    }
)
"""Stage kinds whose items can be split over the pods of one Indexed Job."""

SAMPLING = frozenset(
    {"generate-prompts", "generate-responses", "judge", "evaluate", "sample"},
)
"""Stage kinds that sample from a model they do not change, by the ComputeProfile's engine."""


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
