"""Configs of the training stages."""

from typing import ClassVar, Literal

from pydantic import Field

from autodidact_contract.base import Lora, Schema
from autodidact_contract.stages.answers import Answers, Reward
from autodidact_contract.stages.base import (
    GRADER_COUNTS,
    Compute,
    Names,
    Sampling,
    StageConfig,
    Takes,
)
from autodidact_contract.stages.judging import Contest


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

    COUNTS: ClassVar[Names] = ("rows", "tokens", "steps", "dropoutModules", "trainableParameters")
    METRICS: ClassVar[Names] = ("loss",)
    COMPUTE: ClassVar[Compute] = "train"

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

    Rows are instructions, evaluations and the positives of each round (self-rewarding) or
    questions (ReFT).

    Attributes:
        rubric: Renders judgements; needed with the input evaluations.
        stop_epochs: Training ends after so many passes although its schedule is ``epochs`` long:
            the warm-up of arXiv 2401.08967 is an early checkpoint of a 40-epoch run.
        validation: Accuracy on the way, see there.
    """

    TAKES: ClassVar = (
        Takes("model"),
        Takes("instructions", optional=True),
        Takes("evaluations", optional=True),
        Takes("positives", optional=True, numbered=True),
        Takes("questions", optional=True),
        Takes("validation", optional=True),
    )
    COUNTS: ClassVar[Names] = (*Training.COUNTS, "truncated", "keptStep", *GRADER_COUNTS)
    METRICS: ClassVar[Names] = (*Training.METRICS, "tokenAccuracy", "accuracy")

    stage: Literal["train-sft"] = "train-sft"
    rubric: str | None = None
    stop_epochs: float | None = None
    validation: Validation | None = None


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

    The input model is the start and the frozen reference; validation, and referee where a model
    judges, are for ``selection``.

    Attributes:
        selection: Choice of the checkpoint; None: the last one.
    """

    TAKES: ClassVar = (
        Takes("model"),
        Takes("pairs"),
        Takes("judge-pairs", optional=True),
        Takes("validation", optional=True),
        Takes("referee", optional=True),
    )
    COUNTS: ClassVar[Names] = (
        *Training.COUNTS,
        "truncated",
        "judge-pairs",
        "judge-pairs-too-long",
        "keptStep",
        "checks",
        "invalid-verdicts",
    )
    METRICS: ClassVar[Names] = (
        *Training.METRICS,
        "tokenAccuracy",
        "rewardsMargin",
        "rewardsAccuracy",
    )

    stage: Literal["train-dpo"] = "train-dpo"
    beta: float
    nll_coefficient: float
    selection: Selection | None = None


class Online(Training):
    """What stages share that learn from answers they sample on the way.

    ``epochs`` are visits to each question and ``batch_size`` counts questions. The input model is the
    start and the frozen reference.

    Attributes:
        sampling: Of the answers; ``max_new_tokens`` is what is left of ``max_length`` if larger.
        passes: Passes over each batch of answers.
    """

    TAKES: ClassVar = (Takes("model"), Takes("questions"), Takes("validation"))
    COUNTS: ClassVar[Names] = (*Training.COUNTS, "rollouts", "answers", "keptStep", *GRADER_COUNTS)
    METRICS: ClassVar[Names] = (
        *Training.METRICS,
        "reward",
        "sampledAccuracy",
        "truncation",
        "unread",
        "accuracy",
    )

    sampling: Sampling
    answers: Answers
    validation: Validation
    passes: int = Field(ge=1)


class Reinforced(Online):
    """What PPO and GRPO share.

    Attributes:
        beta: Weight of the KL from the reference: in the reward (PPO), in the loss (GRPO).
        clip_ratio: Epsilon of the clipped policy loss.
        max_kl: Training ends, keeping the best model, when a rollout's mean KL of an answer, in
            nats, is larger; None: never.
    """

    METRICS: ClassVar[Names] = (*Online.METRICS, "clipFraction", "lastKl")

    reward: Reward
    beta: float
    clip_ratio: float
    max_kl: float | None = None


class TrainPpo(Reinforced):
    """ReFT's policy by PPO (arXiv 2401.08967 section 3.2).

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

    Source: arXiv 2401.08967 section 4.2.
    """

    stage: Literal["train-online-st"] = "train-online-st"


class TrainGrpo(Reinforced):
    """GRPO (arXiv 2402.03300) by TRL; ``passes`` is its mu.

    Attributes:
        group_size: Answers per question.
    """

    stage: Literal["train-grpo"] = "train-grpo"
    group_size: int = Field(ge=2)


class TrainReranker(Training):
    """Outcome classifier on sampled answers (arXiv 2401.08967 section 4.3)."""

    TAKES: ClassVar = (Takes("model"), Takes("samples"))
    COUNTS: ClassVar[Names] = (*Training.COUNTS, "truncated", "correct")

    stage: Literal["train-reranker"] = "train-reranker"
