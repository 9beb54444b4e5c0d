"""What workers get: one config class per stage kind, which says what the stage is.

A config holds everything that may change a stage's output, fully resolved, and nothing else: it is
hashed into the stage key. Where the artifacts lie, how many shards there are and who asked is in
the task around it. A field that comes later is None where it is off, and then not hashed: keys do
not move when the operator is upgraded.

A new class joins ``AnyStage`` here; a graph names many of them, so all can be taken from here.
"""

from typing import Annotated

from pydantic import Field

from autodidact_contract.stages.answers import (
    Answers,
    EvaluateAnswers,
    RerankAnswers,
    Reward,
    Sample,
)
from autodidact_contract.stages.base import RUBRICS, SANDBOX_LAYERS, Sampling, Server, StageConfig
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
    OPPONENTS,
    Contest,
    Evaluate,
    GenerateResponses,
    ImplicitReward,
    Judge,
    JudgeRanked,
    MetaJudge,
)
from autodidact_contract.stages.report import Report
from autodidact_contract.stages.training import (
    Online,
    Reinforced,
    Selection,
    TrainDpo,
    TrainGrpo,
    Training,
    TrainOnlineSt,
    TrainPpo,
    TrainReranker,
    TrainSft,
    Validation,
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
"""The config of any stage; its kind, in the field ``stage``, says which."""

__all__ = [
    "OPPONENTS",
    "RUBRICS",
    "SANDBOX_LAYERS",
    "Answers",
    "AnyStage",
    "BuildEft",
    "BuildJudgePairs",
    "BuildPairs",
    "BuildPositives",
    "BuildSeed",
    "BuildSelfTraining",
    "ComparePrompts",
    "Contest",
    "Evaluate",
    "EvaluateAnswers",
    "GeneratePrompts",
    "GenerateResponses",
    "ImplicitReward",
    "Import",
    "Judge",
    "JudgeRanked",
    "MetaJudge",
    "Online",
    "PrepareQuestions",
    "Reinforced",
    "Report",
    "RerankAnswers",
    "Reward",
    "Sample",
    "Sampling",
    "Selection",
    "Server",
    "StageConfig",
    "TrainDpo",
    "TrainGrpo",
    "TrainOnlineSt",
    "TrainPpo",
    "TrainReranker",
    "TrainSft",
    "Training",
    "Validation",
]
