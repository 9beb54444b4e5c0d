"""The state of one job of the graph, after its attempts so far.

The number of the last attempt is in the run's status and in the names of the Jobs. Of the two the
larger one counts, since either can be lost. The end of an attempt is counted once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from autodidact_contract.api.status import JobStatus
from autodidact_operator.plan.failure import Cause, cause, charged, given_up
from autodidact_operator.plan.types import ObservedJob

State = Literal["create", "wait", "starting", "running", "failed"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The state of a job of the graph, and what it needs next.

    Attributes:
        books: What the run's status is to say of it.
        current: The Job that works on it.
        delete: A Job that did not start in time.
        fatal: Why the run cannot go on.
        ended: Why an attempt ended, if it has just ended.
        wake_at: When to look again if nothing happens.
    """

    state: State
    books: JobStatus
    current: ObservedJob | None = None
    delete: str | None = None
    fatal: Cause | None = None
    ended: Cause | None = None
    wake_at: datetime | None = None


def standing(
    books: JobStatus,
    jobs: tuple[ObservedJob, ...],
    *,
    now: datetime,
    backoff_limit: int,
    start_deadline: timedelta,
    enlargeable: bool,
) -> Standing:
    """Returns the state of one job of the graph.

    Args:
        books: What the status says of it; ``JobStatus(name=...)`` if nothing.
        jobs: Its Jobs, of all attempts.
        now: The time.
        backoff_limit: See ``RunSpec.backoff_limit``.
        start_deadline: See ``RunSpec.start_deadline_seconds``.
        enlargeable: Whether its ComputeProfile has a larger size for what ran out of memory.
    """
    last = max(jobs, key=lambda job: job.attempt, default=None)
    if last and last.attempt > books.attempt:
        books = books.model_copy(update={"attempt": last.attempt})
    if last and last.attempt < books.attempt:
        last = None
    if books.attempt > books.counted:
        why = _end(last, now, start_deadline)
        if why is None:
            assert last is not None
            return _at_work(books, last, start_deadline)
        books = charged(books, why, now, enlargeable=enlargeable)
        late = last.name if last and not over(last) else None
        if given_up(books, why, backoff_limit, enlargeable=enlargeable):
            return Standing(state="failed", books=books, fatal=why, ended=why, delete=late)
        return Standing(
            state="wait", books=books, ended=why, delete=late, wake_at=_time(books.retry_at)
        )
    return _next(books, jobs, now)


def _end(last: ObservedJob | None, now: datetime, start_deadline: timedelta) -> Cause | None:
    """Returns why the attempt is over, or None while it is not."""
    if last is None or last.stopping:
        return Cause(charge="free", reason="Deleted", message="the Job was deleted")
    if over(last):
        return cause(last)
    since = idle_since(last)
    if since is not None and now >= since + start_deadline:
        waiting = next((pod for pod in last.pods if pod.waiting), None)
        return Cause(
            charge="bounded",
            reason=waiting.waiting if waiting else last.reason or "NotStarted",
            message=f"Job {last.name} did not start within {start_deadline.total_seconds():.0f} s"
            + (f": {waiting.waiting_message}" if waiting else f": {last.message or 'no pod'}"),
        )
    return None


def over(job: ObservedJob) -> bool:
    """Returns whether a pod of a Job failed or all succeeded; the Job's condition says so later."""
    if job.ended:
        return True
    if any(pod.phase == "Failed" for pod in job.pods):
        return True
    done = {pod.index for pod in job.pods if pod.phase == "Succeeded"}
    return len(done) >= job.shards


def idle_since(job: ObservedJob) -> datetime | None:
    """Returns since when a Job that is not over has had no running pod.

    That can be long after the first pod started, since shards may run one after the other. None
    while a pod runs or a queue holds the Job back.
    """
    if job.suspended or any(pod.phase == "Running" for pod in job.pods):
        return None
    ends = [pod.finished_at for pod in job.pods if pod.finished_at]
    return max([job.started_at or job.created_at, *ends])


def _at_work(books: JobStatus, job: ObservedJob, start_deadline: timedelta) -> Standing:
    started = any(pod.phase != "Pending" for pod in job.pods)
    since = idle_since(job)
    return Standing(
        state="running" if started else "starting",
        books=books,
        current=job,
        wake_at=None if since is None else since + start_deadline,
    )


def _next(books: JobStatus, jobs: tuple[ObservedJob, ...], now: datetime) -> Standing:
    """Returns what a job without an open attempt needs: a new Job, once the last one's pods ended."""
    open_pods = any(pod.phase in ("Pending", "Running") for job in jobs for pod in job.pods)
    if open_pods or any(job.stopping for job in jobs):
        return Standing(state="wait", books=books)
    retry_at = _time(books.retry_at)
    if retry_at and now < retry_at:
        return Standing(state="wait", books=books, wake_at=retry_at)
    return Standing(state="create", books=books)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
