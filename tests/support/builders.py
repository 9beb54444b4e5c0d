"""Runs, graphs, artifacts, pods and Jobs, as short as a test can say them."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_contract.api.status import Condition, JobStatus, RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.base import digest
from autodidact_contract.task import Failure, Result, RunRef
from autodidact_operator.plan.progression import stage_key_of
from autodidact_operator.plan.recipes import RECIPES, Recipe, graph_of
from autodidact_operator.plan.types import Graph, ObservedJob, ObservedPod, Run, Stage
from support.stage_figures import COUNTS, METRICS
from tools.paths import ROOT

DATA = ROOT / "tests" / "data"
EXAMPLES = ROOT / "crds" / "examples"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UID = "7f0c0f6e-8a63-4b3c-9d41-2f6a52d3a001"

MINIMAL: dict[str, Any] = {
    "model": {"uri": "s3://inputs/base"},
    "data": {
        "instructions": {"uri": "s3://inputs/ift.jsonl"},
        "heldOut": {"uri": "s3://inputs/held-out.jsonl"},
    },
}
"""The least that a SelfRewardRun needs."""

REFT: dict[str, Any] = {
    "model": {"uri": "s3://inputs/base"},
    "data": {
        "train": {"uri": "s3://inputs/train.jsonl"},
        "validation": {"uri": "s3://inputs/validation.jsonl"},
        "test": {"uri": "s3://inputs/test.jsonl"},
    },
}
"""The least that a ReFTRun needs."""


def later(seconds: float) -> datetime:
    """Returns the time so many seconds after ``NOW``."""
    return NOW + timedelta(seconds=seconds)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of nested mappings with the changes laid over it."""
    result = deepcopy(dict(base))
    for name, value in changes.items():
        inner = result.get(name)
        nested = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[name] = merged(inner, value) if nested else value  # type: ignore[arg-type]
    return result


def spec(**changes: Any) -> SelfRewardSpec:
    """Returns the minimal spec with changes, under their outside names."""
    return SelfRewardSpec.model_validate(merged(MINIMAL, changes))


def reft(**changes: Any) -> ReFTSpec:
    """Returns the minimal spec of a ReFTRun with changes, under their outside names."""
    return ReFTSpec.model_validate(merged(REFT, changes))


def ref(
    name: str = "llama", namespace: str = "research", uid: str = UID, kind: str = "SelfRewardRun"
) -> RunRef:
    """Returns who asks."""
    return RunRef(kind=kind, namespace=namespace, name=name, uid=uid)


def run(of: RunSpec | None = None, generation: int = 1) -> Run:
    """Returns the run object's data."""
    of = of or spec()
    return Run(ref=ref(kind=_recipe(of).kind), spec=of, generation=generation, created_at=NOW)


def graph(of: RunSpec | None = None) -> Graph:
    """Returns the run as a graph; a fork's model was found."""
    of = of or spec()
    return graph_of(_recipe(of), of, UID, "train-sft-0a1b")


def _recipe(of: RunSpec) -> Recipe:
    [found] = [recipe for recipe in RECIPES if recipe.spec is type(of)]
    return found


def artifact(stage: Stage, inputs: Mapping[str, Artifact], **figures: float) -> Artifact:
    """Returns what a stage publishes; figures replace the healthy ones."""
    return healthy(stage.config.stage, stage_key_of(stage, inputs), **figures)


def healthy(kind: str, key: str, **figures: float) -> Artifact:
    """Returns an artifact with the figures of a healthy stage, or with others."""
    counts = dict(COUNTS.get(kind, {}))
    metrics: dict[str, float | None] = dict(METRICS.get(kind, {}))
    for name, value in figures.items():
        if name in metrics:
            metrics[name] = value
        else:
            counts[name] = int(value)
    return Artifact(
        kind=kind,
        key=key,
        digest=digest([kind, key]),
        counts=counts,
        metrics=metrics,
        folder=f"research/artifacts/{kind}-{key}/0-of-1",
    )


def published(
    of: Graph,
    until: str | None = None,
    but: Iterable[str] = (),
    **figures: Mapping[str, float],
) -> dict[str, Artifact]:
    """Returns the artifacts of the stages up to and with ``until``, in the order of the graph.

    Args:
        of: The graph.
        until: Name of the last stage that is published; None for all.
        but: Stages that are not published.
        figures: By stage name with underscores for dashes, see ``artifact``.
    """
    found: dict[str, Artifact] = {}
    for stage in of.stages:
        if stage.name not in but:
            changed = figures.get(stage.name.replace("-", "_"), {})
            found[stage.name] = artifact(stage, found, **changed)
        if stage.name == until:
            break
    return found


def pod(phase: str = "Running", index: int = 0, **fields: Any) -> ObservedPod:
    """Returns a pod; a failed one ended a moment ago with exit code 1 unless said otherwise."""
    if phase == "Failed":
        fields = {"exit_code": 1, "finished_at": NOW, "container_reason": "Error", **fields}
    if phase == "Succeeded":
        fields = {"exit_code": 0, "finished_at": NOW, **fields}
    return ObservedPod(index=index, phase=phase, **fields)  # type: ignore[arg-type]


def job(name: str, *pods: ObservedPod, attempt: int = 1, **fields: Any) -> ObservedJob:
    """Returns an attempt of one job of the graph, created at ``NOW``."""
    fields = {"created_at": NOW, **fields}
    return ObservedJob(name=f"{name}-{attempt}", job=name, attempt=attempt, pods=pods, **fields)


def words(code: str, reason: str, message: str, stage: str = "") -> Result:
    """Returns the last words of a worker that failed."""
    failure = Failure(code=code, reason=reason, message=message, stage=stage)  # type: ignore[arg-type]
    return Result(failure=failure)


def begun(*books: JobStatus) -> RunStatus:
    """Returns the status of a run that is at work, with these books."""
    return RunStatus(phase="Running", started_at=NOW.isoformat(timespec="seconds"), jobs=books)


def at_attempt(name: str, attempt: int, **fields: Any) -> JobStatus:
    """Returns the books of a job whose attempt is open."""
    return JobStatus.model_validate(
        {"name": name, "attempt": attempt, "counted": attempt - 1, **fields}
    )


def conditions(status: RunStatus) -> dict[str, str]:
    """Returns each condition's status by its type."""
    return {condition.type: condition.status for condition in status.conditions}


def ready(status: RunStatus) -> Condition:
    """Returns the condition Ready."""
    return next(condition for condition in status.conditions if condition.type == "Ready")
