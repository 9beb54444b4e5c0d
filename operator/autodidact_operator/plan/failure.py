"""Why an attempt ended without its result, and what that is charged to.

The cause is the pod that failed first: where training lost a rank, the others fail because of it.
What the worker wrote counts more than its exit code, and that more than the kubelet's reason.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from autodidact_contract.api.status import JobStatus
from autodidact_contract.task import EXIT_STOPPED, EXIT_USER, Failure
from autodidact_operator.plan.types import ObservedJob, ObservedPod

Charge = Literal["user", "free", "memory", "bounded"]
FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 300.0
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why an attempt ended.

    Attributes:
        charge: user: no attempt can succeed. free: not the run's fault; the attempt does not count.
            memory: a larger size may help. bounded: counts towards ``backoffLimit``.
    """

    charge: Charge
    reason: str
    message: str


def cause(job: ObservedJob) -> Cause:
    """Returns why a Job that ended has no result."""
    failed = sorted(
        (pod for pod in job.pods if pod.phase == "Failed"),
        key=lambda pod: pod.finished_at or _FAR,
    )
    if any(pod.disrupted for pod in job.pods):
        return Cause(charge="free", reason="Disrupted", message="a pod was preempted or evicted")
    if failed:
        return _of_pod(failed[0], job)
    if job.ended == "Failed":
        return Cause(
            charge="bounded",
            reason=job.reason or "JobFailed",
            message=job.message or f"Job {job.name} failed and left no failed pod to ask why",
        )
    return Cause(
        charge="bounded",
        reason="NotPublished",
        message=f"the pods of Job {job.name} ended without publishing their result; "
        "is the store the operator reads the one the workers write to?",
    )


def _of_pod(pod: ObservedPod, job: ObservedJob) -> Cause:
    told = pod.result.failure if pod.result else None
    where = f"Job {job.name}"
    if told and told.code == "user":
        return Cause(charge="user", reason=_reason(told.reason), message=_message(told, job))
    if pod.exit_code == EXIT_USER:
        return Cause(
            charge="user",
            reason="StageRefused",
            message=f"{where} refused its input and left no message; see kubectl logs job/{job.name}",
        )
    if pod.reason:
        # The kubelet ended the pod for something the pod did. It would end the next one as well,
        # whatever this worker could still save or write.
        words = pod.message or f"see kubectl describe job {job.name}"
        return Cause(charge="bounded", reason=pod.reason, message=f"{where} failed: {words}")
    if pod.exit_code == EXIT_STOPPED or (told and told.code == "stopped"):
        return Cause(charge="free", reason="Stopped", message=f"{where} was told to stop")
    return _of_worker(pod, told, job)


def _of_worker(pod: ObservedPod, told: Failure | None, job: ObservedJob) -> Cause:
    """Returns why a worker failed that may succeed in another attempt."""
    where = f"Job {job.name}"
    if pod.container_reason == "OOMKilled":
        return Cause(
            charge="memory",
            reason="OutOfMemory",
            message=f"{where} ran out of memory; raise resources of its ComputeProfile, or lower "
            "the batch size",
        )
    if told:
        return Cause(charge="bounded", reason=_reason(told.reason), message=_message(told, job))
    code = "" if pod.exit_code is None else f" with exit code {pod.exit_code}"
    words = f": {pod.last_words}" if pod.last_words else ""
    return Cause(
        charge="bounded",
        reason=pod.container_reason or "WorkerFailed",
        message=f"{where} failed{code}{words}; see kubectl logs job/{job.name}",
    )


def _message(told: Failure, job: ObservedJob) -> str:
    """Returns a worker's message with the name of its stage, since a Job may have several."""
    return told.message if told.stage in ("", job.job) else f"{told.stage}: {told.message}"


def _reason(told: str) -> str:
    """Returns a worker's reason if it fits into a condition; what a worker writes is not trusted."""
    return told if _REASON.fullmatch(told) else "WorkerFailed"


def charged(entry: JobStatus, why: Cause, now: datetime, *, enlargeable: bool) -> JobStatus:
    """Returns the job's books after an attempt ended, with the earliest time of the next.

    Args:
        entry: The books before.
        why: Why it ended.
        now: The time.
        enlargeable: There is a larger size for what ran out of memory. One attempt is made with
            it, in addition to those that ``backoffLimit`` allows.
    """
    disruptions = entry.disruptions + (why.charge == "free")
    enlarged = why.charge == "memory" and enlargeable and not entry.out_of_memory
    failures = entry.failures + (why.charge in ("bounded", "memory") and not enlarged)
    times = disruptions if why.charge == "free" else max(failures, 1)
    delay = min(FIRST_DELAY_S * 2 ** min(times - 1, 10), LONGEST_DELAY_S)
    if why.charge == "free":
        delay = min(delay, FIRST_DELAY_S)
    return entry.model_copy(
        update={
            "counted": entry.attempt,
            "disruptions": disruptions,
            "failures": failures,
            "out_of_memory": entry.out_of_memory + (why.charge == "memory"),
            "retry_at": (now + timedelta(seconds=delay)).isoformat(),
            "reason": why.reason,
            "message": why.message[:1024],
        }
    )


def given_up(entry: JobStatus, why: Cause, backoff_limit: int, *, enlargeable: bool) -> bool:
    """Returns whether no further attempt is made, by the books after the last one.

    An attempt that ran out of memory in the larger size too would do so again.
    """
    too_large = why.charge == "memory" and enlargeable and entry.out_of_memory > 1
    return why.charge == "user" or too_large or entry.failures > backoff_limit
