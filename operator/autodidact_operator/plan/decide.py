"""The state machine of every kind of run: from what is observed to what is done next.

``decide`` is for a run of which everything is known. ``hindered`` and ``refused`` are for a run of
which a problem hides something: that it may pass, or that it will not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from autodidact_contract.api.status import JobStatus, RunStatus
from autodidact_contract.task import Task
from autodidact_operator.plan import news
from autodidact_operator.plan import status as rendering
from autodidact_operator.plan.attempts import Standing, over, standing
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import ready, skipped, tripped
from autodidact_operator.plan.types import (
    FINAL,
    Decision,
    Graph,
    JobRequest,
    Observed,
    ObservedJob,
    Run,
    Stage,
)
from autodidact_operator.plan.verdicts import (
    CANCELLED,
    Verdict,
    ended_by,
    hindered_by,
    overdue,
    verdict_on,
)


def decide(graph: Graph, run: Run, seen: Observed, before: RunStatus, now: datetime) -> Decision:
    """Returns what to do about a run.

    The same arguments give the same decision, in whatever order the Jobs are listed. After a
    decision was carried out, the next one creates and deletes nothing until something happens.

    Args:
        graph: The whole run as a graph.
        run: The run object's data.
        seen: Jobs, published artifacts, progress, and what hinders the run.
        before: The status as last written.
        now: The time, with its zone.
    """
    if before.phase in FINAL:
        return _settled(run, seen, before)
    passed = tripped(graph, seen.artifacts)
    gates = tuple(gate for gate in passed if gate.check.action != "Warn")
    without = skipped(graph, gates)
    standings = _standings(graph, run, seen, before, without, now)
    if all(entry.state != "create" for entry in standings.values()):
        # Jobs at work do not need what is missing; those that come after them may.
        seen = replace(seen, problem=None)
    # A suspended run needs nothing, so nothing that is missing makes it fail.
    problem = None if run.spec.suspend else seen.problem
    since = _since(problem, before, now)
    ended = ended_by(graph, seen, gates, without)
    verdict = verdict_on(graph, run, seen, before, ended, standings, since, now)
    delete, create, standings = _actions(graph, run, seen, verdict, standings, without)
    facts = rendering.Facts(
        run=run,
        graph=graph,
        artifacts=seen.artifacts,
        skipped=without,
        standings=standings,
        verdict=verdict,
        progress=seen.progress,
        waiting_since=since,
        gates=gates,
        warnings=tuple(gate for gate in passed if gate.check.action == "Warn"),
    )
    after = rendering.render(facts, before, now)
    return Decision(
        status=after,
        create=create,
        delete=delete,
        events=(
            *news.published(graph, seen, before, after),
            *news.changes(before, after, standings),
        ),
        wake_at=_wake_at(run, after, standings, since, now),
        problem=problem,
    )


def _actions(
    graph: Graph,
    run: Run,
    seen: Observed,
    verdict: Verdict,
    standings: dict[str, Standing],
    without: frozenset[str],
) -> tuple[tuple[str, ...], tuple[JobRequest, ...], dict[str, Standing]]:
    """Returns the Jobs to delete, the Jobs to create, and the standings once that is done."""
    if verdict.phase == "Succeeded":
        return (), (), standings
    if verdict.phase == "Failed":
        return _live(seen.jobs), (), standings
    if verdict.phase == "Suspended":
        return _live(seen.jobs), (), {name: _put_down(s) for name, s in standings.items()}
    delete = (
        *(s.delete for s in standings.values() if s.delete),
        *_live(_pointless(graph, seen, without)),
    )
    create = () if seen.problem else _requests(graph, run, seen, standings, without)
    return delete, create, _opened(standings, create)


def _settled(run: Run, seen: Observed, before: RunStatus) -> Decision:
    """Returns what to do about a run that ended: it stays so, and its last Jobs are ended."""
    status = before.model_copy(update={"observed_generation": run.generation})
    delete = _live(seen.jobs) if before.phase == "Failed" else ()
    return Decision(status=status, delete=delete)


def hindered(run: Run, problem: Problem, before: RunStatus, now: datetime) -> Decision:
    """Returns what to do about a run while a problem hides what is published of it.

    The status says what the problem is, and is otherwise left as it was. The run fails when the
    problem lasts too long, if its row says so. The next decision, which is due at once, then ends
    the run's Jobs.

    Args:
        run: The run object's data.
        problem: One that may pass.
        before: The status as last written.
        now: The time, with its zone.
    """
    if before.phase in FINAL:
        return Decision(status=before)
    since = _since(problem, before, now)
    verdict = overdue(run, problem, before, since, now) or hindered_by(problem)
    if run.spec.cancel:
        verdict = CANCELLED
    status = rendering.renewed(before, verdict, run.generation, since, now)
    return Decision(
        status=status,
        events=news.changes(before, status, {}),
        wake_at=now if status.phase in FINAL else _wake_at(run, status, {}, since, now),
        problem=problem,
    )


def refused(
    generation: int,
    problem: Problem,
    jobs: Sequence[ObservedJob],
    before: RunStatus,
    now: datetime,
) -> Decision:
    """Returns what to do about a run that can never work as it is: end it and say why.

    Args:
        generation: Of the run object.
        problem: One that will not pass.
        jobs: The run's Jobs.
        before: The status as last written.
        now: The time, with its zone.
    """
    delete = () if before.phase == "Succeeded" else _live(jobs)
    if before.phase in FINAL:
        status = before.model_copy(update={"observed_generation": generation})
        return Decision(status=status, delete=delete)
    verdict = Verdict(phase="Failed", reason=problem.reason, message=problem.message)
    status = rendering.renewed(before, verdict, generation, None, now)
    return Decision(
        status=status, delete=delete, events=news.changes(before, status, {}), problem=problem
    )


def _live(jobs: Sequence[ObservedJob]) -> tuple[str, ...]:
    """Returns the names of the Jobs that are at work and not yet being deleted."""
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
    """Returns a job's standing after a suspension: its attempt is over and counts as no failure."""
    books = entry.books.model_copy(update={"counted": entry.books.attempt, "retry_at": None})
    return Standing(state="wait", books=books)


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


def _since(problem: Problem | None, before: RunStatus, now: datetime) -> str | None:
    """Returns since when a problem hinders the run, None where its deadline does not count."""
    if problem is None or not problem.row.deadline_counts:
        return None
    return before.waiting_since or now.isoformat(timespec="seconds")


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
