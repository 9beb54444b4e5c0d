"""One config per stage, and what a Job carries: a task of one or more stages.

A config holds everything that may change a stage's output, fully resolved, and nothing else: it is
hashed into the stage key. Where the artifacts lie, how many shards there are and who asked is in
the task around it. A field that comes later is None where it is off, and then not hashed: keys do
not move when the operator is upgraded.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autodidact_contract.artifacts import PROTOCOL
from autodidact_contract.base import Schema
from autodidact_contract.training import Lora

SANDBOX_LAYERS = ("namespaces", "landlock")
"""Layers of the sandbox that programs can be run without, one at a time.

A stage counts ``sandbox-without-<layer>`` where its node has not got one.
"""

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
    content: Literal[
        "model", "instructions", "evaluations", "ranked", "questions", "trees", "prompts"
    ]


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

    Inputs: model; instructions?, evaluations?, positives-<t>? (self-rewarding), questions? (ReFT);
    validation? with ``validation``.

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


class Server(Schema):
    """A server that speaks OpenAI's protocol; its key is in a mounted Secret, not here."""

    url: str
    model: str


class Contest(Schema):
    """How two models' replies to the same prompts are compared, in both orders.

    Attributes:
        rubric: Has the pairwise template, or the task's oracle.
        judge: ``model``: the input referee; ``server``: see there; ``oracle``: the rubric's.
        judge_sampling: Of the comparisons.
        reply_sampling: Of the replies, with the same noise for all models.
        prompts: Prompts at most: the first so many.
    """

    rubric: str
    judge: Literal["model", "server", "oracle"]
    server: Server | None = None
    judge_sampling: Sampling
    reply_sampling: Sampling
    prompts: int = Field(ge=1)


class Selection(Schema):
    """Choice of the checkpoint while a model is trained (arXiv 2401.10020 section 3.1.3).

    Every so many steps, and at the end, the model answers the validation prompts and meets the best
    checkpoint so far, at first the model that training started from. It is the best if it wins more
    battles than it loses.

    Attributes:
        patience: Checkpoints in a row that are not the best, after which training ends.
    """

    every_steps: int = Field(ge=1)
    patience: int = Field(ge=1)
    contest: Contest


class TrainDpo(Training):
    """M(t+1) from M(t) by DPO.

    Inputs: model (start and frozen reference), pairs, judge-pairs?; with ``selection`` validation,
    and referee where a model judges.

    Attributes:
        selection: Choice of the checkpoint; None: the last one.
    """

    stage: Literal["train-dpo"] = "train-dpo"
    beta: float
    nll_coefficient: float
    selection: Selection | None = None


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


class BuildSeed(StageConfig):
    """One part of the seed data in ranked conversation trees. Inputs: trees. No torch.

    The parts have no prompt in common, whatever the seed: it changes nothing.

    Attributes:
        part: ``instructions`` (rows as for SFT), ``judged`` (rankings for ``judge-ranked``),
            ``held-out`` (rankings that measure the judge) or ``validation`` (prompts).
    """

    stage: Literal["build-seed"] = "build-seed"
    part: Literal["instructions", "judged", "held-out", "validation"]
    language: str
    instructions: int
    instruction_share: float
    held_out_share: float
    validation_prompts: int


class ComparePrompts(StageConfig):
    """How many held-out prompts are among the others. Inputs: heldout; any data sets. No torch."""

    stage: Literal["compare-prompts"] = "compare-prompts"


class JudgeRanked(StageConfig):
    """Judgements of replies that people ranked. Inputs: model, ranked. Sharded.

    Attributes:
        attempts: Judgements of each reply.
    """

    stage: Literal["judge-ranked"] = "judge-ranked"
    rubric: str
    attempts: int
    allow_fractional: bool
    sampling: Sampling


class BuildEft(StageConfig):
    """Judgements that agree with people, rebalanced: evaluations. Inputs: judged. No torch.

    Source: arXiv 2401.10020 section 3.1.1.
    """

    stage: Literal["build-eft"] = "build-eft"
    agreement: Literal["no-inversion", "strict"]
    max_score_share: float


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


class ImplicitReward(StageConfig):
    """DPO's implicit reward of replies, beta (log p - log p of the reference). Sharded.

    Inputs: model, reference, responses. Writes what ``judge`` writes, without votes.
    Source: arXiv 2305.18290 section 4; arXiv 2410.12735 section 3 uses it to rank.
    """

    stage: Literal["implicit-reward"] = "implicit-reward"
    beta: float


class BuildPairs(StageConfig):
    """Best and worst reply of each prompt.

    Inputs: judged, or samples (of questions, scored 1 where right, 0 where wrong);
    judged-by-previous? for ``consistency``; anchors? (judged replies of M1) for the loser.

    Attributes:
        rho: Length control of arXiv 2407.19594 section 2.3; None: off.
        max_chosen_length: Characters of a winner at most.
        consistency: Write to each pair how far the rankings of judged and judged-by-previous agree.
    """

    stage: Literal["build-pairs"] = "build-pairs"
    tie_break: Literal["random", "shortest", "lowest-variance"]
    min_score_gap: float
    exclude_truncated: bool
    rho: float | None = Field(None, ge=0, le=0.5)
    max_chosen_length: int | None = None
    consistency: Literal[True] | None = None


class BuildPositives(StageConfig):
    """Replies with the best score, as instructions. Inputs: judged. No torch.

    Source: arXiv 2401.10020 section 2.4.
    """

    stage: Literal["build-positives"] = "build-positives"
    rubric: str


class MetaJudge(StageConfig):
    """The model compares its own judgements two by two, in both orders. Sharded.

    Inputs: model, judged. Of each prompt the reply is taken whose votes differ most.
    Source: arXiv 2407.19594 section 2.2.
    """

    stage: Literal["meta-judge"] = "meta-judge"
    rubric: str
    sampling: Sampling


class BuildJudgePairs(StageConfig):
    """Best and worst judgement of each prompt, by Elo. Inputs: battles, pairs. No torch.

    Attributes:
        max_share: Share of judgement pairs in all pairs at most; the input pairs are counted.
        max_score_share: Share of the judgement pairs whose winners give one score.
        max_chosen_length: Characters of a winning judgement at most.
    """

    stage: Literal["build-judge-pairs"] = "build-judge-pairs"
    rubric: str
    max_share: float
    max_score_share: float
    max_chosen_length: int


class Evaluate(StageConfig):
    """How good a model judges and answers.

    Inputs: model, heldout; the opponents previous?, first?, baseline?; referee where ``contest``
    has a model judge. Without opponents there are no battles. Sharded by held-out prompt.
    """

    stage: Literal["evaluate"] = "evaluate"
    votes: int
    min_valid: int
    allow_fractional: bool
    contest: Contest


OPPONENTS = ("previous", "first", "baseline")
"""Inputs of ``evaluate`` that the model meets."""


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
    | BuildSeed
    | ComparePrompts
    | JudgeRanked
    | BuildEft
    | GeneratePrompts
    | GenerateResponses
    | Judge
    | ImplicitReward
    | BuildPairs
    | BuildPositives
    | MetaJudge
    | BuildJudgePairs
    | Evaluate
    | Report,
    Field(discriminator="stage"),
]

SHARDED = frozenset(
    {
        "generate-responses",
        "judge",
        "judge-ranked",
        "implicit-reward",
        "meta-judge",
        "evaluate",
        "sample",
        "evaluate-answers",
        "rerank-answers",
    }
)
"""Stage kinds whose items can be split over the pods of one Indexed Job."""

SAMPLING = frozenset(
    {
        "generate-prompts",
        "generate-responses",
        "judge",
        "judge-ranked",
        "meta-judge",
        "evaluate",
        "sample",
    },
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
