"""What the finished stages measured, by arm. Any of them may be missing.

An arm is a finished model and what its test stages found: the warm-up, each baseline, and ReFT
itself, which is called by its algorithm. All arms answer the same test questions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from autodidact_contract.records import Reranked, Verdict
from autodidact_worker.answers import majority
from autodidact_worker.report import curves
from autodidact_worker.report.curves import Curve, Points
from autodidact_worker.report.reft.samples import Looked, browse
from autodidact_worker.report.shares import Interval, Paired, paired, wilson
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import InputArtifact

Right = Mapping[str, bool]
"""Whether the answer is right, by question."""

WARM_UP = "warm-up"
REINFORCED = ("ppo", "grpo")
TITLES = {
    WARM_UP: "Warm-up",
    "sft": "SFT continued",
    "offline-self-training": "Offline self-training",
    "online-self-training": "Online self-training",
    "ppo": "ReFT (PPO)",
    "grpo": "ReFT (GRPO)",
}
"""What the page calls each arm, in its order."""

_MODELS = {
    WARM_UP: "train-sft",
    "sft": "train-sft-continued",
    "offline-self-training": "train-sft-offline",
    "online-self-training": "train-online-st",
}
_REFT, _RERANKER = "train-reft", "train-reranker"
_COLD = (WARM_UP, "offline-self-training")
"""Arms that begin at the given model; all others go on from the warm-up."""

STRATEGIES = ("greedy", "vote", "rerank")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One finished model.

    Attributes:
        name: As in the names of its stages.
        stage: Stage that made it.
        digest: Digest of its artifact; empty if it is not there.
        right: Test questions by strategy; a strategy that was not measured is missing.
        samples: Sampled answers of each test question.
        unique: Different values of a question's samples, a mean over the questions.
        votes: Right votes by the number of samples that voted.
        reasons: Test answers by the reason of their value.
        validation: Validation accuracy of the model that was kept.
        seen: Rows or answers that its training learned from, repetitions included.
        counts: What its training counted.
        measured: Validation accuracy over the rows or answers seen.
        log: Its training log.
    """

    name: str
    stage: str
    digest: str = ""
    right: Mapping[str, Right] = field(default_factory=dict)
    samples: int = 0
    unique: float | None = None
    votes: Mapping[int, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    validation: float | None = None
    seen: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    measured: Points = field(default_factory=list)
    log: Curve | None = None

    @property
    def title(self) -> str:
        """What the page calls it."""
        return TITLES[self.name]

    @cached_property
    def accuracy(self) -> Mapping[str, Interval]:
        """Share of right answers by strategy."""
        found = {
            name: wilson(sum(right.values()), len(right)) for name, right in self.right.items()
        }
        return {name: interval for name, interval in found.items() if interval}

    @property
    def questions(self) -> int:
        """Test questions that it was asked."""
        return max((len(right) for right in self.right.values()), default=0)

    def against(self, other: "Arm", strategy: str) -> Paired | None:
        """Returns how it did on the questions that both answered by a strategy."""
        return paired(self.right.get(strategy, {}), other.right.get(strategy, {}))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All that the page shows.

    Attributes:
        arms: Arms with a finished stage, in the order of `TITLES`.
        stages: Names of all finished stages, in order of the run.
        overlap: Test questions that are in the training split as well.
        looked: Some test questions to look at.
        reranker: Training log of the reranker.
        notes: What could not be read, in sentences.
    """

    arms: tuple[Arm, ...]
    stages: tuple[str, ...]
    overlap: int
    looked: tuple[Looked, ...]
    reranker: Curve | None
    notes: tuple[str, ...]

    @property
    def warm_up(self) -> Arm | None:
        """The arm that reinforcement and baselines began at."""
        return next((arm for arm in self.arms if arm.name == WARM_UP), None)

    @property
    def reft(self) -> Arm | None:
        """The arm that is the point of it all."""
        return next((arm for arm in self.arms if arm.name in REINFORCED), None)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies that an arm was measured by."""
        return tuple(name for name in STRATEGIES if any(name in arm.accuracy for arm in self.arms))

    @property
    def samples(self) -> int:
        """Samples of a vote."""
        return max((arm.samples for arm in self.arms), default=0)

    def best(self, strategy: str) -> float | None:
        """Returns the highest accuracy by a strategy, None unless there are two to compare."""
        found = [arm.accuracy[strategy].share for arm in self.arms if strategy in arm.accuracy]
        return max(found) if len(found) > 1 else None


def collect(inputs: Mapping[str, InputArtifact], looked: int) -> Figures:
    """Returns the figures of whatever stages there are.

    Args:
        inputs: Finished stages by their name in the run's graph.
        looked: Test questions to keep for the samples browser.
    """
    notes: list[str] = []
    arms = [_arm(inputs, name, notes) for name in _names(inputs)]
    start = next((arm.measured[-1][0] for arm in arms if arm.name == WARM_UP and arm.measured), 0)
    shown = {arm.name: arm.title for arm in arms if arm.name in (WARM_UP, *REINFORCED)}
    return Figures(
        arms=tuple(arm if arm.name in _COLD else _moved(arm, start) for arm in arms),
        stages=tuple(sorted(inputs, key=_position)),
        overlap=inputs.get("prepare-test", _NOTHING).counts.get("overlap", 0),
        looked=browse(inputs, shown, notes)[:looked],
        reranker=curves.read(_RERANKER, inputs[_RERANKER], notes) if _RERANKER in inputs else None,
        notes=tuple(notes),
    )


_NOTHING = InputArtifact(path=Path())


def _names(inputs: Mapping[str, InputArtifact]) -> list[str]:
    """Returns the arms with any finished stage."""
    found = {name for name, model in _MODELS.items() if model in inputs}
    if _REFT in inputs:
        found.add(inputs[_REFT].kind.removeprefix("train-"))
    for prefix in ("sample-test-", "evaluate-", "rerank-"):
        found |= {name.removeprefix(prefix) for name in inputs if name.startswith(prefix)}
    return [name for name in TITLES if name in found]


_ORDER = (
    *(f"prepare-{split}" for split in ("train", "validation", "test")),
    _MODELS[WARM_UP],
    "sample-train",
    "build-self-training",
    *(_MODELS[name] for name in _MODELS if name != WARM_UP),
    _REFT,
    *(f"sample-test-{arm}" for arm in TITLES),
    *(f"evaluate-{arm}" for arm in TITLES),
    _RERANKER,
    *(f"rerank-{arm}" for arm in TITLES),
)


def _position(name: str) -> tuple[int, str]:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER), name


def _arm(inputs: Mapping[str, InputArtifact], name: str, notes: list[str]) -> Arm:
    stage = _MODELS.get(name, _REFT)
    trained = inputs.get(stage, _NOTHING)
    sampled = inputs.get(f"sample-test-{name}", _NOTHING)
    verdicts = _read(inputs, f"evaluate-{name}", "verdicts", Verdict, notes)
    reranked = _read(inputs, f"rerank-{name}", "reranked", Reranked, notes)
    log = curves.read(stage, trained, notes) if trained is not _NOTHING else None
    return Arm(
        name=name,
        stage=stage,
        digest=trained.digest,
        right=_right(verdicts, reranked),
        samples=max((row.samples for row in verdicts), default=0),
        unique=sampled.metrics.get("uniqueValues"),
        votes=_votes(verdicts),
        reasons=_reasons(sampled.counts),
        validation=trained.metrics.get("accuracy"),
        seen=_seen(trained),
        counts=trained.counts,
        measured=_measured(log, trained),
        log=log,
    )


def _read(
    inputs: Mapping[str, InputArtifact],
    name: str,
    stem: str,
    schema: Any,
    notes: list[str],
) -> list[Any]:
    """Returns all rows of a stage; none, noting why, if they cannot be read."""
    if name not in inputs:
        return []
    try:
        return [row for _, part in rows.read_parts(inputs[name].path, stem, schema) for row in part]
    except UserError as error:
        notes.append(f"{name}: {error}")
        return []


def _right(verdicts: list[Verdict], reranked: list[Reranked]) -> dict[str, Right]:
    """Returns what is right by strategy; an answer that could not be read is wrong."""
    found: dict[str, Right] = {}
    if any(row.greedy_correct is not None for row in verdicts):
        found["greedy"] = {row.question_id: row.greedy_correct is True for row in verdicts}
    if any(row.samples for row in verdicts):
        found["vote"] = {row.question_id: row.vote_correct is True for row in verdicts}
    if reranked:
        found["rerank"] = {row.question_id: row.correct for row in reranked}
    return found


def _votes(verdicts: list[Verdict]) -> dict[int, int]:
    """Returns right votes by number of samples: 1, 2, 4, ... and all of them."""
    if not verdicts:
        return {}
    ks = majority.checkpoints(verdicts[0].samples)
    curve = [row.curve for row in verdicts if len(row.curve) == len(ks)]
    if len(curve) < len(verdicts):
        return {}
    return {k: sum(row[index] for row in curve) for index, k in enumerate(ks)}


def _reasons(counts: Mapping[str, int]) -> dict[str, int]:
    prefix = "read-"
    return {
        name.removeprefix(prefix): count
        for name, count in counts.items()
        if name.startswith(prefix) and count
    }


def _seen(trained: InputArtifact) -> int | None:
    """Returns rows or answers that were learned from; each answer counts once in all passes."""
    counts = trained.counts
    if "answers" in counts or "steps" not in counts:
        return counts.get("answers")
    return int(counts["steps"] * trained.config.get("batchSize", 1))


def _measured(log: Curve | None, trained: InputArtifact) -> Points:
    """Returns validation accuracies over the rows or answers that were seen before each."""
    points = log.points("accuracy") if log else []
    # Logs count rollouts or optimiser steps, whatever their training goes by.
    last = max((row["step"] for row in log.rows if "step" in row), default=0) if log else 0
    seen = _seen(trained)
    each = seen / last if seen and last else 1.0
    return [(step * each, value) for step, value in points]


def _moved(arm: Arm, start: float) -> Arm:
    """Returns an arm whose curve begins where the warm-up ended."""
    return replace(arm, measured=[(x + start, y) for x, y in arm.measured])
