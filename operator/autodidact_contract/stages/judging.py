"""Configs of the stages of self-rewarding that reply, judge and compare."""

from typing import Literal

from pydantic import Field

from autodidact_contract.base import Schema
from autodidact_contract.stages.base import Sampling, Server, StageConfig


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
    """Judgements of replies that people ranked. Inputs: model, ranked. Sharded.

    Attributes:
        attempts: Judgements of each reply.
    """

    stage: Literal["judge-ranked"] = "judge-ranked"
    rubric: str
    attempts: int
    allow_fractional: bool
    sampling: Sampling


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


class MetaJudge(StageConfig):
    """The model compares its own judgements two by two, in both orders. Sharded.

    Inputs: model, judged. Of each prompt the reply is taken whose votes differ most.
    Source: arXiv 2407.19594 section 2.2.
    """

    stage: Literal["meta-judge"] = "meta-judge"
    rubric: str
    sampling: Sampling


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
