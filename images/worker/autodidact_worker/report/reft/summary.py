"""The tables of a ReFT run for programs."""

from dataclasses import asdict
from typing import Any

from autodidact_worker.report.reft.figures import STRATEGIES, Arm, Figures
from autodidact_worker.report.shares import Paired


def of(figures: Figures) -> dict[str, Any]:
    """Returns the tables of the page as plain JSON types; texts of models are not in it."""
    reft = figures.reft
    others = [arm for arm in figures.arms if arm is not reft] if reft else []
    return {
        "arms": [_arm(arm) for arm in figures.arms],
        "paired": [
            {"ours": reft.name, "theirs": other.name, "strategy": name, **_paired(pair)}
            for other in others
            for name in STRATEGIES
            if reft and (pair := reft.against(other, name))
        ],
        "samples": figures.samples,
        "overlap": figures.overlap,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        "stage": arm.stage,
        "digest": arm.digest,
        "questions": arm.questions,
        "accuracy": {name: asdict(interval) for name, interval in arm.accuracy.items()},
        "rightVotes": {str(k): right for k, right in arm.votes.items()},
        "reasons": dict(arm.reasons),
        "validationAccuracy": arm.validation,
        "training": {"seen": arm.seen, **arm.counts},
    }


def _paired(pair: Paired) -> dict[str, Any]:
    low, high = pair.interval
    return {**asdict(pair), "difference": pair.difference, "low": low, "high": high, "p": pair.p}
