"""Renders the run's status from what the planner knows: phase, columns, history, conditions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from autodidact_contract.api.kinds import BY_KIND, Kind
from autodidact_contract.api.status import Condition, Iteration, JobStatus, RunStatus, StageStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.base import canonical_json
from autodidact_operator.plan.attempts import Standing
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.progression import Tripped
from autodidact_operator.plan.types import FINAL, Graph, Run, Stage, StageProgress
from autodidact_operator.plan.verdicts import Verdict

Artifacts = Mapping[str, Artifact]

MAX_BYTES = 32768
"""Largest size of a status as JSON, whatever the number of iterations and shards."""

DEGRADED = "Degraded"

_MESSAGE_LENGTHS = (1024, 256, 64, 16)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the status shows."""

    run: Run
    graph: Graph
    artifacts: Artifacts
    skipped: Collection[str]
    standings: Mapping[str, Standing]
    verdict: Verdict
    progress: StageProgress | None
    waiting_since: str | None
    gates: Sequence[Tripped] = ()
    warnings: Sequence[Tripped] = ()


def render(facts: Facts, before: RunStatus, now: datetime) -> RunStatus:
    """Returns the new status. Equal facts give an equal status, which need not be written again."""
    stage = _current(facts)
    final = facts.verdict.phase in FINAL
    history = _history(facts.graph, facts.artifacts)
    status = RunStatus(
        observed_generation=facts.run.generation,
        phase=facts.verdict.phase,
        iteration=_iteration(facts, stage),
        stage="" if final or stage is None else stage.name,
        progress="" if final else _share(facts.progress, stage),
        eta="" if final else _eta(facts.progress, stage),
        score=_score(history, BY_KIND[facts.run.ref.kind]),
        model=_model(facts.graph, facts.artifacts, facts.gates),
        origin=before.origin,
        report=facts.artifacts["report"].folder if "report" in facts.artifacts else "",
        started_at=before.started_at or now.isoformat(timespec="seconds"),
        finished_at=before.finished_at or now.isoformat(timespec="seconds") if final else None,
        waiting_since=None if final else facts.waiting_since,
        history=history,
        stages=_stages(facts, stage),
        jobs=tuple(_books(facts)),
        conditions=(
            *_conditions(facts.verdict, before, facts.run.generation, now),
            *_degraded(facts.warnings, before, facts.run.generation, now),
        ),
    )
    return _fitted(status)


def _fitted(status: RunStatus) -> RunStatus:
    """Returns the status with its messages cut until it is small enough."""
    for length in _MESSAGE_LENGTHS:
        if len(canonical_json(status.dump())) <= MAX_BYTES:
            break
        status = status.model_copy(
            update={
                name: tuple(
                    part.model_copy(update={"message": part.message[:length]})
                    for part in getattr(status, name)
                )
                for name in ("stages", "jobs", "conditions")
            }
        )
    return status


def renewed(
    before: RunStatus, verdict: Verdict, generation: int, since: str | None, now: datetime
) -> RunStatus:
    """Returns the status as it was, with another verdict."""
    final = verdict.phase in FINAL
    return RunStatus.model_validate(
        {
            **before.model_dump(),
            "observed_generation": generation,
            "phase": verdict.phase,
            "started_at": before.started_at or now.isoformat(timespec="seconds"),
            "finished_at": now.isoformat(timespec="seconds") if final else None,
            "waiting_since": None if final else since,
            "conditions": (
                *_conditions(verdict, before, generation, now),
                *(known for known in before.conditions if known.type == DEGRADED),
            ),
        }
    )


def _books(facts: Facts) -> list[JobStatus]:
    return [s.books for s in facts.standings.values() if s.books.attempt]


def _current(facts: Facts) -> Stage | None:
    """Returns the first stage that is at work, else the first that is not done."""
    busy = {name for name, s in facts.standings.items() if s.state in ("running", "starting")}
    open_stages = [
        stage
        for stage in facts.graph.stages
        if stage.name not in facts.artifacts and stage.name not in facts.skipped
    ]
    told = facts.progress.stage if facts.progress else ""
    for stage in open_stages:
        if stage.name == told and stage.job in busy:
            return stage
    return next((s for s in open_stages if s.job in busy), open_stages[0] if open_stages else None)


def _iteration(facts: Facts, stage: Stage | None) -> str:
    """Returns for example 1/2: the DPO round at work, or the last that was done."""
    if stage is None or stage.name in facts.artifacts:
        done = max(
            (t for t, name in facts.graph.models.items() if name in facts.artifacts), default=1
        )
        return f"{done - 1}/{facts.graph.iterations}"
    return f"{stage.iteration}/{facts.graph.iterations}"


def _share(progress: StageProgress | None, stage: Stage | None) -> str:
    if not progress or not stage or progress.stage != stage.name:
        return ""
    return f"{int(100 * progress.fraction)}%"


def _eta(progress: StageProgress | None, stage: Stage | None) -> str:
    if not progress or not stage or progress.stage != stage.name:
        return ""
    if progress.eta_seconds is None:
        return ""
    return _short(timedelta(seconds=progress.eta_seconds))


def _short(span: timedelta) -> str:
    """Returns a duration as kubectl shows ages: two units at most."""
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172800:
        return f"{seconds // 3600}h{seconds % 3600 // 60}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600}h"


def _model(graph: Graph, artifacts: Artifacts, gates: Sequence[Tripped]) -> str:
    """Returns the folder of the last published model that no gate rejects."""
    rejected = {gate.rejected for gate in gates}
    made = [t for t, name in graph.models.items() if name in artifacts and name not in rejected]
    return artifacts[graph.models[max(made)]].folder if made else ""


def _history(graph: Graph, artifacts: Artifacts) -> tuple[Iteration, ...]:
    lines = []
    for line in graph.lines:
        figures = {
            column: _figure(artifacts.get(stage), name)
            for column, (stage, name) in line.figures.items()
        }
        model = artifacts.get(line.model)
        if model or any(value is not None for value in figures.values()):
            lines.append(
                Iteration.model_validate(
                    {
                        "iteration": line.iteration,
                        "name": line.name,
                        "model": model.name if model else "",
                        **figures,
                    }
                )
            )
    return tuple(lines)


def _figure(
    artifact: Artifact | None, name: str | tuple[str, ...]
) -> float | int | tuple[int, ...] | None:
    if artifact is None:
        return None
    if isinstance(name, tuple):
        return tuple(artifact.counts.get(one, 0) for one in name)
    if name in artifact.counts:
        return artifact.counts[name]
    value = artifact.metrics.get(name)
    return None if value is None else round(value, 4)


def _score(history: tuple[Iteration, ...], kind: Kind) -> str:
    """Returns the score of the last model that has one."""
    for line in reversed(history):
        for value in (getattr(line, figure) for figure in kind.score):
            if value is not None:
                return f"{value:.3f}"
    return ""


def _stages(facts: Facts, current: Stage | None) -> tuple[StageStatus, ...]:
    """Returns the stages of the current iteration; all others are in the history."""
    iteration = current.iteration if current else facts.graph.iterations
    return tuple(
        _stage(facts, stage) for stage in facts.graph.stages if stage.iteration == iteration
    )


def _stage(facts: Facts, stage: Stage) -> StageStatus:
    if artifact := facts.artifacts.get(stage.name):
        return StageStatus(name=stage.name, phase="Succeeded", artifact=artifact.name)
    if stage.name in facts.skipped:
        return StageStatus(name=stage.name, phase="Skipped")
    standing = facts.standings.get(stage.job)
    if standing is None:
        return StageStatus(name=stage.name, phase="Pending")
    job = standing.current
    waiting = next((pod for pod in job.pods if pod.waiting), None) if job else None
    at_work = standing.state in ("starting", "running")
    return StageStatus(
        name=stage.name,
        phase=_PHASES[standing.state],
        job=job_name(facts.run.ref, stage.job, standing.books.attempt) if at_work else "",
        reason=waiting.waiting if waiting else standing.books.reason,
        message=(waiting.waiting_message if waiting else standing.books.message)[:512],
    )


_PHASES = {
    "create": "Pending",
    "wait": "Pending",
    "starting": "Pending",
    "running": "Running",
    "failed": "Failed",
}


def _conditions(
    verdict: Verdict, before: RunStatus, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Returns the conditions; kstatus reads Reconciling, Stalled and Ready."""
    phase = verdict.phase
    wanted = {
        "Ready": "True" if phase == "Succeeded" else "False",
        "Reconciling": "True" if phase in ("Pending", "Running") else "False",
        "Stalled": "True" if phase == "Failed" else "False",
        "Succeeded": {"Succeeded": "True", "Failed": "False"}.get(phase, "Unknown"),
        "Suspended": "True" if phase == "Suspended" else "False",
    }
    return tuple(
        _condition(name, value, verdict, before, generation, now) for name, value in wanted.items()
    )


def _degraded(
    warnings: Sequence[Tripped], status: RunStatus, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Returns the condition Degraded of a run that goes on with warnings."""
    if not warnings:
        return ()
    said = Verdict(
        phase="", reason=warnings[0].check.reason, message="; ".join(str(one) for one in warnings)
    )
    return (_condition(DEGRADED, "True", said, status, generation, now),)


def _condition(
    name: str, value: str, verdict: Verdict, status: RunStatus, generation: int, now: datetime
) -> Condition:
    before = next((known for known in status.conditions if known.type == name), None)
    same = before is not None and before.status == value
    return Condition.model_validate(
        {
            "type": name,
            "status": value,
            "reason": verdict.reason,
            "message": verdict.message[:4096],
            "last_transition_time": before.last_transition_time
            if before and same
            else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observed_generation": generation,
        }
    )
