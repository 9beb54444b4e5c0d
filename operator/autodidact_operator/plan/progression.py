"""Where a run is: which stages are done, skipped by a gate, or ready; and the keys to look for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autodidact_contract.artifacts import Artifact, stage_key
from autodidact_contract.task import Input, StageTask
from autodidact_operator.plan.types import Check, Graph, Stage

Artifacts = Mapping[str, Artifact]


@dataclass(frozen=True, kw_only=True)
class Tripped:
    """A gate whose limit was passed."""

    stage: Stage
    check: Check
    value: float | None

    def __str__(self) -> str:
        """Says what was measured, where, and what to do."""
        check = self.check
        side = "at least" if check.at_least else "at most"
        wants = "expected" if check.action == "Warn" else "the gate wants"
        is_ = "cannot be computed" if self.value is None else f"is {self.value:g}"
        return (
            f"{self.stage.name}: {check.figure} {is_}, {wants} {side} "
            f"{check.limit:g}; {check.advice}"
        )

    @property
    def rejected(self) -> str:
        """The stage that made the model that this gate rejects, empty if it rejects none."""
        return self.stage.inputs["model"] if self.check.rejects else ""


def measured(check: Check, artifact: Artifact) -> float | None:
    """Returns a check's figure: 0 if it is missing, None if it is the mean of no values."""
    if check.metric:
        return artifact.metrics.get(check.metric, 0.0)
    value = float(artifact.counts.get(check.numerator, 0))
    if not check.denominator:
        return value
    whole = artifact.counts.get(check.denominator, 0)
    return value / whole if whole else 0.0


def tripped(graph: Graph, artifacts: Artifacts) -> tuple[Tripped, ...]:
    """Returns the gates that the published figures trip, with warnings, in the graph's order."""
    found = []
    for stage in graph.stages:
        for check in stage.checks if stage.name in artifacts else ():
            value = measured(check, artifacts[stage.name])
            if _passes(check, value):
                found.append(Tripped(stage=stage, check=check, value=value))
    return tuple(found)


def _passes(check: Check, value: float | None) -> bool:
    """Returns whether a figure is beyond its limit.

    The mean of no values is beyond every limit, except a minimum of 0.
    """
    if check.at_least:
        return (value or 0.0) < check.limit
    return value is None or value > check.limit


def skipped(graph: Graph, gates: Collection[Tripped]) -> frozenset[str]:
    """Returns the stages that depend on a stage whose gate tripped, without partial ones."""
    blocked = {gate.stage.name for gate in gates if gate.check.action != "Warn"}
    result: set[str] = set()
    for stage in graph.stages:
        if not stage.partial and blocked.intersection((*stage.inputs.values(), *stage.after)):
            blocked.add(stage.name)
            result.add(stage.name)
    return frozenset(result)


def available(graph: Graph, stage: Stage, artifacts: Artifacts, without: Collection[str]) -> bool:
    """Returns whether everything that a stage waits for is published."""
    if stage.partial:
        others = (other.name for other in graph.stages if other.name != stage.name)
        return all(name in artifacts or name in without for name in others)
    return all(name in artifacts for name in (*stage.inputs.values(), *stage.after))


def digests(stage: Stage, artifacts: Artifacts) -> dict[str, str]:
    """Returns the digests of a stage's inputs; a partial stage may have only some of them."""
    return {
        name: artifacts[source].digest
        for name, source in stage.inputs.items()
        if source in artifacts
    }


def frontier(graph: Graph, artifacts: Artifacts) -> dict[str, tuple[str, str]]:
    """Returns kind and key of every stage that could be published and is not known to be.

    These are to be looked up in the store: what is found there is adopted.
    """
    without = skipped(graph, tripped(graph, artifacts))
    return {
        stage.name: (stage.config.stage, stage_key_of(stage, artifacts))
        for stage in graph.stages
        if stage.name not in artifacts
        and stage.name not in without
        and available(graph, stage, artifacts, without)
    }


def stage_key_of(stage: Stage, artifacts: Artifacts) -> str:
    """Returns the key of a stage whose inputs are published."""
    return stage_key(stage.config.dump(), digests(stage, artifacts), stage.salt)


def ready(
    graph: Graph, job: str, artifacts: Artifacts, without: Collection[str]
) -> tuple[StageTask, ...]:
    """Returns the stages of a job that are left, in order, if one process can do them all now.

    A stage may read what an earlier stage of the same job will make.
    """
    tasks: list[StageTask] = []
    for stage in graph.stages:
        if stage.job != job or stage.name in artifacts or stage.name in without:
            continue
        soon = {task.name for task in tasks}
        missing = {name for name in (*stage.inputs.values(), *stage.after) if name not in artifacts}
        if not (missing <= soon or available(graph, stage, artifacts, without)):
            return ()
        tasks.append(
            StageTask(
                name=stage.name,
                config=stage.config,
                inputs=_inputs(stage, artifacts, soon),
                salt=stage.salt,
            )
        )
    return tuple(tasks)


def _inputs(stage: Stage, artifacts: Artifacts, soon: Collection[str]) -> dict[str, Input]:
    inputs = {}
    for name, source in stage.inputs.items():
        if artifact := artifacts.get(source):
            inputs[name] = Input(artifact=artifact.name, digest=artifact.digest)
        elif source in soon:
            inputs[name] = Input(stage=source)
    return inputs
