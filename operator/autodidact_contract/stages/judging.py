"""Configs of the stages of self-rewarding that reply, judge and compare."""

from typing import ClassVar, Literal

from pydantic import Field

from autodidact_contract.artifacts import VOTES
from autodidact_contract.base import Schema
from autodidact_contract.stages.base import (
    Compute,
    Names,
    Sampling,
    Server,
    StageConfig,
    Takes,
)

OPPONENTS = ("previous", "first", "baseline")
"""Inputs of ``evaluate`` that the model meets."""

JUDGE_COUNTS = ("judgements", "parsed", "invalid-*", f"{VOTES}*")
"""What a stage counts that asks a judge for votes."""

JUDGE_METRICS = ("scoreEntropy",)
"""What follows from these counts, see ``artifacts.fold``."""

SCORE_COUNTS = ("prompts", "responses", "unscored", "ties")
SCORE_METRICS = ("score", "spread")
"""What a stage counts and measures that scores replies."""


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


class JudgeRanked(StageConfig):
    """Judgements of replies that people ranked.

    Attributes:
        attempts: Judgements of each reply.
    """

    TAKES: ClassVar = (Takes("model"), Takes("ranked"))
    COUNTS: ClassVar[Names] = (*JUDGE_COUNTS, "skipped-too-long")
    METRICS: ClassVar[Names] = JUDGE_METRICS
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["judge-ranked"] = "judge-ranked"
    rubric: str
    attempts: int
    allow_fractional: bool
    sampling: Sampling


class GenerateResponses(StageConfig):
    """Replies to prompts."""

    TAKES: ClassVar = (Takes("model"), Takes("prompts"))
    COUNTS: ClassVar[Names] = ("prompts", "responses", "truncated", "tokens", "skipped-too-long")
    METRICS: ClassVar[Names] = ("tokens", "characters")
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["generate-responses"] = "generate-responses"
    per_prompt: int
    sampling: Sampling


class Judge(StageConfig):
    """Votes on replies."""

    TAKES: ClassVar = (Takes("model"), Takes("responses"))
    COUNTS: ClassVar[Names] = (*JUDGE_COUNTS, "skipped-too-long", "score-*", *SCORE_COUNTS)
    METRICS: ClassVar[Names] = (*SCORE_METRICS, *JUDGE_METRICS)
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["judge"] = "judge"
    rubric: str
    votes: int
    min_valid: int
    allow_fractional: bool
    sampling: Sampling


class ImplicitReward(StageConfig):
    """DPO's implicit reward of replies, beta (log p - log p of the reference).

    Writes what ``judge`` writes, without votes.
    Source: arXiv 2305.18290 section 4; arXiv 2410.12735 section 3 uses it to rank.
    """

    TAKES: ClassVar = (Takes("model"), Takes("reference"), Takes("responses"))
    COUNTS: ClassVar[Names] = (*SCORE_COUNTS, "skipped-too-long")
    METRICS: ClassVar[Names] = SCORE_METRICS
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True

    stage: Literal["implicit-reward"] = "implicit-reward"
    beta: float


class MetaJudge(StageConfig):
    """The model compares its own judgements two by two, in both orders.

    Of each prompt the reply is taken whose votes differ most.
    Source: arXiv 2407.19594 section 2.2.
    """

    TAKES: ClassVar = (Takes("model"), Takes("judged"))
    COUNTS: ClassVar[Names] = (
        "prompts",
        "battles",
        "verdicts-*",
        "skipped-undisputed",
        "skipped-too-long",
    )
    METRICS: ClassVar[Names] = ("higherPreferred", "firstPreferred")
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["meta-judge"] = "meta-judge"
    rubric: str
    sampling: Sampling


class Evaluate(StageConfig):
    """How good a model judges and answers.

    The input referee is there where ``contest`` has a model judge. Without opponents there are no
    battles. Held-out prompts are what shards split.
    """

    TAKES: ClassVar = (
        Takes("model"),
        Takes("heldout"),
        *(Takes(name, optional=True) for name in OPPONENTS),
        Takes("referee", optional=True),
    )
    COUNTS: ClassVar[Names] = (
        *JUDGE_COUNTS,
        "ranked-prompts",
        "ranked-pairs",
        "unscored-pairs",
        "partly-scored-prompts",
        "unordered-prompts",
        "constant-prompts",
        "battles*",
        "invalid-verdicts*",
    )
    METRICS: ClassVar[Names] = (
        *JUDGE_METRICS,
        "pairwiseAccuracy",
        "pairwiseAccuracyByPrompt",
        "tieRate",
        "fiveBest",
        "exactMatch",
        "spearman",
        "kendall",
        "quality",
        "greedyQuality",
        "replyLength",
        "lengthRatio",
        "winRate*",
        "drawRate*",
        "lossRate*",
        "gain*",
    )
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["evaluate"] = "evaluate"
    votes: int
    min_valid: int
    allow_fractional: bool
    contest: Contest
