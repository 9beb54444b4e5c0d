"""The one state machine, for every kind of run: what to do next, from what is observed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from autodidact_contract.api.status import JobStatus, RunStatus
from autodidact_contract.task import Task
from autodidact_operator.plan import status as rendering
from autodidact_operator.plan.attempts import Standing, idle_since, over, standing
from autodidact_operator.plan.progression import Tripped, ready, skipped, tripped
from autodidact_operator.plan.status import Verdict, View
from autodidact_operator.plan.types import (
    Decision,
    Event,
    Graph,
    JobRequest,
    Observed,
    ObservedJob,
    Run,
    Stage,
)

FINAL = ("Succeeded", "Failed")


def decide(graph: Graph, run: Run, seen: Observed, before: RunStatus, now: datetime) -> Decision:
    """Returns what to do about a run.

    The same arguments give the same decision, in whatever order the Jobs are listed; a decision
    that was carried out leads to one that creates and deletes nothing, until something happens.

    Args:
        graph: The whole run as a graph.
        run: The run object's data.
        seen: Jobs, published artifacts, progress and hindrances.
        before: The status as last written.
        now: The time, with its zone.
    """
    if before.phase in FINAL:
        return _settled(run, seen, before)
    passed = tripped(graph, seen.artifacts)
    gates = tuple(gate for gate in passed if gate.check.action != "Warn")
    warnings = tuple(gate for gate in passed if gate.check.action == "Warn")
    without = skipped(graph, gates)
    standings = _standings(graph, run, seen, before, without, now)
    if all(entry.state != "create" for entry in standings.values()):
        # What is at work needs nothing that is missing; what comes after it may.
        seen = replace(seen, problem=None)
    # A suspended run needs nothing, so that nothing it lacks makes it fail.
    since = None if run.spec.suspend else _since(seen, before, now)
    ended = _ended(graph, seen, gates, without)
    verdict = _verdict(graph, run, seen, before, ended, standings, since, now)
    if verdict.phase in (*FINAL, "Suspended"):
        delete = () if verdict.phase == "Succeeded" else _live(seen.jobs)
        if verdict.phase == "Suspended":
            standings = {name: _put_down(s) for name, s in standings.items()}
        create: tuple[JobRequest, ...] = ()
    else:
        delete = (
            *(s.delete for s in standings.values() if s.delete),
            *_live(_pointless(graph, seen, without)),
        )
        create = () if seen.problem else _requests(graph, run, seen, standings, without)
        standings = _opened(standings, create)
    view = View(
        run=run,
        graph=graph,
        artifacts=seen.artifacts,
        skipped=without,
        standings=standings,
        verdict=verdict,
        progress=seen.progress,
        waiting_since=since,
        gates=gates,
        warnings=warnings,
    )
    after = rendering.render(view, before, now)
    return Decision(
        status=after,
        create=create,
        delete=delete,
        events=(*_news(graph, seen, before, after), *_events(before, after, standings)),
        wake_at=_wake_at(run, after, standings, since, now),
    )


def _settled(run: Run, seen: Observed, before: RunStatus) -> Decision:
    """A run that ended stays so; what still runs of it is ended too."""
    status = before.model_copy(update={"observed_generation": run.generation})
    delete = _live(seen.jobs) if before.phase == "Failed" else ()
    return Decision(status=status, delete=delete)


def hindered(
    run: Run,
    problem: tuple[str, str],
    before: RunStatus,
    now: datetime,
    *,
    patiently: bool = False,
) -> Decision:
    """Returns what to do while it cannot be seen what is published: say so, and give up in time.

    Nothing else of the status changes, since nothing else is known. The Jobs of a run that is given
    up are ended by the next decision, which is due at once.

    Args:
        run: The run object's data.
        problem: A reason and a sentence.
        before: The status as last written.
        now: The time, with its zone.
        patiently: It is not given up for that, whatever ``startDeadlineSeconds`` says.
    """
    if before.phase in FINAL:
        return Decision(status=before)
    seen = Observed(problem=problem)
    since = None if patiently else _since(seen, before, now)
    verdict = _overdue(run, seen, before, since, now) or _at_work_hindered(problem)
    if run.spec.cancel:
        verdict = _CANCELLED
    status = rendering.renewed(before, verdict, run.generation, since, now)
    return Decision(
        status=status,
        events=_events(before, status, {}),
        wake_at=now if status.phase in FINAL else _wake_at(run, status, {}, since, now),
    )


def refused(
    generation: int,
    problem: tuple[str, str],
    jobs: Sequence[ObservedJob],
    before: RunStatus,
    now: datetime,
) -> Decision:
    """Returns what to do about a run that can never work as it is: end it and say why."""
    delete = () if before.phase == "Succeeded" else _live(jobs)
    if before.phase in FINAL:
        status = before.model_copy(update={"observed_generation": generation})
        return Decision(status=status, delete=delete)
    reason, message = problem
    verdict = Verdict(phase="Failed", reason=reason, message=message)
    status = rendering.renewed(before, verdict, generation, None, now)
    return Decision(status=status, delete=delete, events=_events(before, status, {}))


_CANCELLED = Verdict(phase="Failed", reason="Cancelled", message="spec.cancel is true")


def _at_work_hindered(problem: tuple[str, str]) -> Verdict:
    reason, message = problem
    return Verdict(phase="Pending", reason=reason, message=message)


def _live(jobs: Sequence[ObservedJob]) -> tuple[str, ...]:
    return tuple(sorted(job.name for job in jobs if not over(job) and not job.stopping))


def _pointless(graph: Graph, seen: Observed, without: frozenset[str]) -> list[ObservedJob]:
    """Returns the Jobs all of whose open stages were skipped by a gate."""
    open_stages: dict[str, set[str]] = {}
    for stage in graph.stages:
        if stage.name not in seen.artifacts:
            open_stages.setdefault(stage.job, set()).add(stage.name)
    return [job for job in seen.jobs if job.job in open_stages and open_stages[job.job] <= without]


def _standings(
    graph: Graph,
    run: Run,
    seen: Observed,
    before: RunStatus,
    without: frozenset[str],
    now: datetime,
) -> dict[str, Standing]:
    """Returns the standing of every job that could work now or has been begun."""
    books = {entry.name: entry for entry in before.jobs}
    result = {}
    for job in dict.fromkeys(stage.job for stage in graph.stages):
        attempts = tuple(j for j in seen.jobs if j.job == job)
        tasks = ready(graph, job, seen.artifacts, without)
        if not tasks:
            continue
        result[job] = standing(
            books.get(job, JobStatus(name=job)),
            attempts,
            now=now,
            backoff_limit=run.spec.backoff_limit,
            start_deadline=timedelta(seconds=run.spec.start_deadline_seconds),
            enlargeable=_profile(run, graph[tasks[0].name]) in seen.enlargeable,
        )
    return result


def _profile(run: Run, stage: Stage) -> str:
    """Returns the name of the ComputeProfile of a stage."""
    name: str = getattr(run.spec.compute, stage.compute)
    return name


def _put_down(entry: Standing) -> Standing:
    """A suspended attempt is over, and charged to nobody."""
    books = entry.books.model_copy(update={"counted": entry.books.attempt, "retry_at": None})
    return Standing(state="wait", books=books)


def _since(seen: Observed, before: RunStatus, now: datetime) -> str | None:
    """Returns since when something hinders the run."""
    if not seen.problem:
        return None
    return before.waiting_since or now.isoformat(timespec="seconds")


def _verdict(
    graph: Graph,
    run: Run,
    seen: Observed,
    before: RunStatus,
    ended: Verdict | None,
    standings: Mapping[str, Standing],
    since: str | None,
    now: datetime,
) -> Verdict:
    if run.spec.cancel:
        return _CANCELLED
    if ended:
        return ended
    for name, entry in standings.items():
        if entry.fatal:
            return Verdict(
                phase="Failed", reason=entry.fatal.reason, message=f"{name}: {entry.fatal.message}"
            )
    if overdue := _overdue(run, seen, before, since, now):
        return overdue
    if run.spec.suspend:
        return Verdict(phase="Suspended", reason="Suspended", message="spec.suspend is true")
    return _at_work(graph, seen, standings)


def _ended(
    graph: Graph, seen: Observed, gates: Sequence[Tripped], without: frozenset[str]
) -> Verdict | None:
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


def _overdue(
    run: Run, seen: Observed, before: RunStatus, since: str | None, now: datetime
) -> Verdict | None:
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
    if seen.problem and since and now >= datetime.fromisoformat(since) + patience:
        reason, message = seen.problem
        return Verdict(phase="Failed", reason=reason, message=message)
    return None


def _at_work(graph: Graph, seen: Observed, standings: Mapping[str, Standing]) -> Verdict:
    if seen.problem:
        return _at_work_hindered(seen.problem)
    done = sum(stage.name in seen.artifacts for stage in graph.stages)
    at_work = f"{done} of {len(graph.stages)} stages done"
    for name, entry in standings.items():
        if job := entry.current:
            idle = idle_since(job)
            # One that waits although it runs is on a node that is lost.
            held = [pod for pod in job.pods if pod.waiting and (idle or pod.phase == "Running")]
            if held:
                return Verdict(
                    phase="Running",
                    reason=held[0].waiting,
                    message=f"{name} waits: {held[0].waiting_message}",
                )
            if idle and job.message:
                return Verdict(
                    phase="Running",
                    reason=job.reason,
                    message=f"{name} waits: {job.message}",
                )
        books = entry.books
        if entry.state == "wait" and (books.failures or books.out_of_memory):
            return Verdict(
                phase="Running",
                reason="Retrying",
                message=f"{name} failed {books.counted - books.disruptions} times and is tried "
                f"again: {books.message}",
            )
    return Verdict(phase="Running", reason="Progressing", message=at_work)


def _requests(
    graph: Graph,
    run: Run,
    seen: Observed,
    standings: Mapping[str, Standing],
    without: frozenset[str],
) -> tuple[JobRequest, ...]:
    requests = []
    for name, entry in standings.items():
        if entry.state != "create":
            continue
        tasks = ready(graph, name, seen.artifacts, without)
        first = graph[tasks[0].name]
        attempt = entry.books.attempt + 1
        requests.append(
            JobRequest(
                job=name,
                attempt=attempt,
                task=Task(
                    run=run.ref, job=name, attempt=attempt, shards=first.shards, stages=tasks
                ),
                profile=_profile(run, first),
                shards=first.shards,
                training=first.training,
                larger=entry.books.out_of_memory > 0,
                secret=first.secret,
            )
        )
    return tuple(requests)


def _opened(standings: Mapping[str, Standing], create: Sequence[JobRequest]) -> dict[str, Standing]:
    """Returns the standings as they are once the Jobs exist."""
    attempts = {request.job: request.attempt for request in create}
    return {
        name: Standing(
            state="starting",
            books=entry.books.model_copy(update={"attempt": attempts[name], "retry_at": None}),
        )
        if name in attempts
        else entry
        for name, entry in standings.items()
    }


def _news(graph: Graph, seen: Observed, before: RunStatus, after: RunStatus) -> tuple[Event, ...]:
    """Returns what was published: a job that leaves the books has done its stages."""
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


def _events(
    before: RunStatus,
    after: RunStatus,
    standings: Mapping[str, Standing],
) -> tuple[Event, ...]:
    events = [
        Event(type="Warning", reason=condition.reason, message=condition.message)
        for condition in after.conditions
        if condition.type == rendering.DEGRADED
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


def _wake_at(
    run: Run,
    after: RunStatus,
    standings: Mapping[str, Standing],
    since: str | None,
    now: datetime,
) -> datetime | None:
    if after.phase in FINAL:
        return None
    times = [entry.wake_at for entry in standings.values() if entry.wake_at]
    if run.spec.deadline_seconds is not None:
        started = datetime.fromisoformat(after.started_at) if after.started_at else now
        times.append(started + timedelta(seconds=run.spec.deadline_seconds))
    if since:
        patience = timedelta(seconds=run.spec.start_deadline_seconds)
        times.append(datetime.fromisoformat(since) + patience)
    return min(times, default=None)
