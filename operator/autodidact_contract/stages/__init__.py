"""What workers get: one config class per stage kind, which says what the stage is.

A config holds everything that may change a stage's output, fully resolved, and nothing else: it is
hashed into the stage key. Where the artifacts lie, how many shards there are and who asked is in
the task around it. A field that comes later is None where it is off, and then not hashed: keys do
not move when the operator is upgraded.

A graph names many of the classes, so that all of them can be taken from here.
"""

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
from autodidact_contract.stages.registry import SAMPLING, SHARDED, STAGES, AnyStage
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

__all__ = [
    "OPPONENTS",
    "RUBRICS",
    "SAMPLING",
    "SANDBOX_LAYERS",
    "SHARDED",
    "STAGES",
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
