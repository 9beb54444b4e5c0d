"""Every stage kind there is, and what can be said of kinds from their configs."""

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from autodidact_contract.stages.answers import EvaluateAnswers, RerankAnswers, Sample
from autodidact_contract.stages.base import StageConfig
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


STAGES: Mapping[str, type[StageConfig]] = {
    config.model_fields["stage"].default: config for config in get_args(get_args(AnyStage)[0])
}
"""The config class of each kind."""

SHARDED = frozenset(kind for kind, config in STAGES.items() if config.SHARDED)
SAMPLING = frozenset(kind for kind, config in STAGES.items() if config.SAMPLES)
