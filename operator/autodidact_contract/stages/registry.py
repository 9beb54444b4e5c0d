"""Every stage kind there is, and what can be said of kinds from their configs."""

from typing import Annotated

from pydantic import Field

from autodidact_contract.stages.answers import EvaluateAnswers, RerankAnswers, Sample
from autodidact_contract.stages.data import (
    BuildEft,
    BuildJudgePairs,
    BuildPairs,
    BuildPositives,
    BuildSeed,
    BuildSelfTraining,
    ComparePrompts,
    GeneratePrompts,
    Import,
    PrepareQuestions,
)
from autodidact_contract.stages.judging import (
    Evaluate,
    GenerateResponses,
    ImplicitReward,
    Judge,
    JudgeRanked,
    MetaJudge,
)
from autodidact_contract.stages.report import Report
from autodidact_contract.stages.training import (
    TrainDpo,
    TrainGrpo,
    TrainOnlineSt,
    TrainPpo,
    TrainReranker,
    TrainSft,
)

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
