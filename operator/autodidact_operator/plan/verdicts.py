"""How a run stands as a whole, and why: the source of its phase and its conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.attempts import Standing, idle_since
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import Tripped
from autodidact_operator.plan.types import Graph, Observed, Run


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the run stands as a whole; the source of phase and conditions."""

    phase: str
    reason: str
    message: str


CANCELLED = Verdict(phase="Failed", reason="Cancelled", message="spec.cancel is true")


def hindered_by(problem: Problem) -> Verdict:
    """Returns the verdict on a run that waits for a problem to pass."""
    return Verdict(phase="Pending", reason=problem.reason, message=problem.message)


def verdict_on(
    graph: Graph,
    run: Run,
    seen: Observed,
    before: RunStatus,
    ended: Verdict | None,
    standings: Mapping[str, Standing],
    since: str | None,
    now: datetime,
) -> Verdict:
    """Returns how a run stands.

    Args:
        graph: The whole run as a graph.
        run: The run object's data.
        seen: What is observed of it.
        before: The status as last written.
        ended: What ``ended_by`` says.
        standings: Of its jobs, by name.
        since: When a problem began to hinder it; None where none does.
        now: The time.
    """
    if run.spec.cancel:
        return CANCELLED
    if ended:
        return ended
    for name, entry in standings.items():
        if entry.fatal:
            return Verdict(
                phase="Failed", reason=entry.fatal.reason, message=f"{name}: {entry.fatal.message}"
            )
    if late := overdue(run, seen.problem, before, since, now):
        return late
    if run.spec.suspend:
        return Verdict(phase="Suspended", reason="Suspended", message="spec.suspend is true")
    return _at_work(graph, seen, standings)


def ended_by(
    graph: Graph, seen: Observed, gates: Sequence[Tripped], without: frozenset[str]
) -> Verdict | None:
    """Returns the verdict on a run whose stages are all done or skipped, None while some are left.

    Args:
        graph: The whole run as a graph.
        seen: What is observed of it.
        gates: Those that tripped, without those that only warn.
        without: The stages that are skipped for them.
    """
    if any(s.name not in seen.artifacts and s.name not in without for s in graph.stages):
        return None
    if not gates:
        return Verdict(phase="Succeeded", reason="Completed", message="all iterations are done")
    rejected = {gate.rejected for gate in gates}
    learned = any(
        t > 1 and name in seen.artifacts and name not in rejected
        for t, name in graph.models.items()
    )
    gate = next((gate for gate in gates if gate.check.action == "Fail"), gates[0])
    failed = gate.check.action == "Fail" or not learned
    return Verdict(
        phase="Failed" if failed else "Succeeded", reason=gate.check.reason, message=str(gate)
    )


def overdue(
    run: Run, problem: Problem | None, before: RunStatus, since: str | None, now: datetime
) -> Verdict | None:
    """Returns the verdict on a run that takes too long or has been hindered for too long."""
    started = datetime.fromisoformat(before.started_at) if before.started_at else now
    deadline = run.spec.deadline_seconds
    if deadline is not None and now >= started + timedelta(seconds=deadline):
        return Verdict(
            phase="Failed",
            reason="DeadlineExceeded",
            message=f"not done {deadline} s after the start; raise spec.deadlineSeconds in a new "
            "run, which goes on from what is published",
        )
    patience = timedelta(seconds=run.spec.start_deadline_seconds)
    if problem and since and now >= datetime.fromisoformat(since) + patience:
        return Verdict(phase="Failed", reason=problem.reason, message=problem.message)
    return None


def _at_work(graph: Graph, seen: Observed, standings: Mapping[str, Standing]) -> Verdict:
    if seen.problem:
        return hindered_by(seen.problem)
    for name, entry in standings.items():
        if verdict := _waiting(name, entry) or _retrying(name, entry):
            return verdict
    done = sum(stage.name in seen.artifacts for stage in graph.stages)
    message = f"{done} of {len(graph.stages)} stages done"
    return Verdict(phase="Running", reason="Progressing", message=message)


def _waiting(name: str, entry: Standing) -> Verdict | None:
    """Returns the verdict on a run one of whose Jobs cannot begin or go on."""
    job = entry.current
    if job is None:
        return None
    idle = idle_since(job)
    # A pod that waits although it runs is on a node that is lost.
    held = [pod for pod in job.pods if pod.waiting and (idle or pod.phase == "Running")]
    if held:
        reason, message = held[0].waiting, held[0].waiting_message
    elif idle and job.message:
        reason, message = job.reason, job.message
    else:
        return None
    return Verdict(phase="Running", reason=reason, message=f"{name} waits: {message}")


def _retrying(name: str, entry: Standing) -> Verdict | None:
    """Returns the verdict on a run one of whose jobs failed and waits for its next attempt."""
    books = entry.books
    if entry.state != "wait" or not (books.failures or books.out_of_memory):
        return None
    return Verdict(
        phase="Running",
        reason="Retrying",
        message=f"{name} failed {books.counted - books.disruptions} times and is tried "
        f"again: {books.message}",
    )
