"""The Events that a step posts about a run."""

from collections.abc import Mapping

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.attempts import Standing
from autodidact_operator.plan.status import DEGRADED
from autodidact_operator.plan.types import FINAL, Event, Graph, Observed


def published(
    graph: Graph, seen: Observed, before: RunStatus, after: RunStatus
) -> tuple[Event, ...]:
    """Returns the Events of stages that were published since the last step.

    A job whose entry left the status has published all its stages.
    """
    if before.started_at is None:
        if not seen.artifacts:
            return ()
        message = f"{len(seen.artifacts)} of {len(graph.stages)} stages were published before"
        return (Event(type="Normal", reason="Adopted", message=message),)
    left = {entry.name for entry in before.jobs} - {entry.name for entry in after.jobs}
    return tuple(
        Event(
            type="Normal",
            reason="StageDone",
            message=f"{stage.name}: {seen.artifacts[stage.name].name}",
        )
        for stage in graph.stages
        if stage.job in left and stage.name in seen.artifacts
    )


def changes(
    before: RunStatus,
    after: RunStatus,
    standings: Mapping[str, Standing],
) -> tuple[Event, ...]:
    """Returns the Events of what became worse, of attempts that ended, and of the run's end."""
    events = [
        Event(type="Warning", reason=condition.reason, message=condition.message)
        for condition in after.conditions
        if condition.type == DEGRADED
        and all(known.message != condition.message for known in before.conditions)
    ]
    events += [
        Event(
            type="Normal" if entry.ended.charge == "free" else "Warning",
            reason=entry.ended.reason,
            message=f"{name} attempt {entry.books.attempt}: {entry.ended.message}",
        )
        for name, entry in standings.items()
        if entry.ended
    ]
    if after.phase != before.phase and after.phase in (*FINAL, "Suspended"):
        condition = after.conditions[0]
        events.append(
            Event(
                type="Warning" if after.phase == "Failed" else "Normal",
                reason=condition.reason,
                message=condition.message,
            )
        )
    return tuple(events)
