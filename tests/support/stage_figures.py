"""What stages count and measure, as their config classes say it, and what is healthy."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from autodidact_contract.stages.base import StageConfig, Takes
from autodidact_contract.stages.registry import STAGES

COUNTS: Mapping[str, Mapping[str, int]] = {
    "judge": {"judgements": 300, "parsed": 290, "prompts": 25, "ties": 2},
    "build-seed": {"rows": 100},
    "build-eft": {"rows": 60, "accepted": 30, "prompts": 40, "before-4": 40, "after-4": 30},
    "build-pairs": {"pairs": 40},
    "build-positives": {"positives": 20},
    "prepare-questions": {"rows": 500, "overlap": 0},
    "train-ppo": {"sandbox-missing": 0},
}
"""What a healthy stage counts, by its kind: as much as gates and history read."""

METRICS: Mapping[str, Mapping[str, float]] = {
    "judge": {"score": 3.25, "scoreEntropy": 1.0},
    "implicit-reward": {"score": -0.25},
    "build-pairs": {"gap": 1.5, "score": 0.5},
    "evaluate": {
        "pairwiseAccuracy": 0.75,
        "quality": 0.5,
        "winRate": 0.6,
        "gain": 0.4,
        "lengthRatio": 1.1,
    },
    "train-sft": {"accuracy": 0.5},
    "train-ppo": {"accuracy": 0.75, "lastKl": 4.0, "truncation": 0.0},
    "evaluate-answers": {"greedyAccuracy": 0.7, "voteAccuracy": 0.8},
    "rerank-answers": {"rerankAccuracy": 0.85},
}
"""What a healthy stage measures, by its kind."""


def undeclared(kind: str, counts: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """Returns the counts and metrics that the config class of a kind does not name."""
    config = STAGES[kind]
    return [
        f"{kind} {what} {name}"
        for what, names, known in (
            ("counts", counts, config.COUNTS),
            ("measures", metrics, config.METRICS),
        )
        for name in names
        if not any(fnmatchcase(name, pattern) for pattern in known)
    ]


def misfits(config: type[StageConfig], inputs: Collection[str]) -> list[str]:
    """Returns the inputs that a stage has but does not take, and those that it lacks."""
    known = {name for name in inputs if any(_is_for(name, one) for one in config.TAKES)}
    surplus = [] if config.TAKES_ANY else [name for name in inputs if name not in known]
    return surplus + [
        one.name
        for one in config.TAKES
        if not one.optional and not any(_is_for(name, one) for name in inputs)
    ]


def _is_for(name: str, one: Takes) -> bool:
    if not one.numbered:
        return name == one.name
    stem, _, number = name.rpartition("-")
    return stem == one.name and number.isdecimal()
