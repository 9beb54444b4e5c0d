"""Translates what is seen of a run on the cluster into what the planner reads, without any effect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from autodidact_contract.task import Result
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.types import Graph, ObservedJob, ObservedPod, StageProgress
from autodidact_operator.progress import Reports, eta, fraction
from autodidact_operator.runs.jobs import CONTAINER

HELD_UP = "ContainerCreating"
_USUAL = frozenset({"", HELD_UP, "PodInitializing"})
"""Waiting reasons that every pod has for a moment."""

USUAL_S = 5.0
"""Seconds for which such a reason is usual. Later it is reported: a missing Secret has no other."""

MAX_LAST_WORDS = 300
"""Characters of a log's last line that are shown."""

_TRACKED = "batch.kubernetes.io/job-tracking"
"""Finalizer of a pod whose end the Job controller has not counted yet."""

_NODE_LOST = "DeletionByTaintManager"
"""Reason of a disruption after which the kubelet may be unable to report the pod's end."""

_PHASES: Mapping[str, Literal["Pending", "Running", "Succeeded", "Failed"]] = {
    "Pending": "Pending",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Failed",
}


@dataclass(frozen=True, kw_only=True)
class HeldUp:
    """Finds Jobs that get no pods, and pods that get no containers.

    Kubernetes gives the cause only in Events, which the operator does not read.

    Attributes:
        now: The time, with its zone.
        secrets: Names of the Secrets that pods of the run mount.
    """

    now: datetime
    secrets: tuple[str, ...]

    def includes(self, status: Body, state: Body) -> bool:
        """Returns whether a pod was scheduled some seconds ago and still has no container."""
        if status.get("phase", "Pending") != "Pending" or "running" in state:
            return False
        return any(
            condition["type"] == "PodScheduled"
            and condition["status"] == "True"
            and self._for_long(_time(condition["lastTransitionTime"]))
            for condition in status.get("conditions") or ()
        )

    def no_pods(self, job: ObservedJob) -> Mapping[str, Any]:
        """Returns reason and message if a Job should have pods by now and has none."""
        begun = self._for_long(job.started_at or job.created_at)
        if job.pods or job.suspended or job.stopping or not begun:
            return {}
        message = (
            f"Job {job.name} has no pod; a quota or an admission policy may refuse it: "
            f"kubectl describe job {job.name} says which"
        )
        return {"reason": "NoPods", "message": message}

    def _for_long(self, since: datetime) -> bool:
        return (self.now - since).total_seconds() >= USUAL_S

    def causes(self, pod: str) -> str:
        """Returns the usual causes, and the command that shows the real one."""
        return (
            f"its image is still being pulled, or a Secret is missing ({', '.join(self.secrets)}); "
            f"kubectl describe pod {pod} says which"
        )


def jobs(
    bodies: Iterable[Body], pods: Iterable[Body], uid: str, held: HeldUp | None = None
) -> tuple[ObservedJob, ...]:
    """Returns the run's Jobs with their pods.

    Args:
        bodies: Jobs that carry the run's label.
        pods: Pods that carry the run's label.
        uid: The run's UID; a Job whose controller is another object is not the run's.
        held: Finds those that are held up; None: they are not looked for.
    """
    by_job: dict[str, list[Body]] = {}
    for pod in pods:
        by_job.setdefault(_controller(pod), []).append(pod)
    return tuple(
        _job(body, by_job.get(body["metadata"]["uid"], ()), held)
        for body in bodies
        if _controller(body) == uid and _attempt(body)
    )


def progress(reports: Reports, graph: Graph, now: float) -> StageProgress | None:
    """Returns how far the stage is that was reported last.

    Args:
        reports: The latest reports of the run.
        graph: The whole run as a graph; reports of other stages do not count.
        now: Monotonic seconds, of the clock of the reports.
    """
    known = {name: shards for name, shards in reports.items() if name in graph.by_name and shards}
    if not known:
        return None
    last = max(known, key=lambda name: max(report.received_at for report in known[name]))
    done = fraction(known[last], graph[last].shards)
    left = eta(known[last], now)
    return StageProgress(stage=last, fraction=done or 0.0, eta_seconds=left)


def _controller(body: Body) -> str:
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def _attempt(body: Body) -> int:
    """Returns the number of the attempt, 0 for a Job whose labels were broken."""
    text = (body["metadata"].get("labels") or {}).get(labels.ATTEMPT, "")
    return int(text) if text.isdecimal() else 0


def unexplained(jobs: Iterable[ObservedJob]) -> bool:
    """Returns whether a Job or a pod does not begin and no reason is known yet."""
    return any(
        not (job.pods or job.ended or job.message)
        or any(pod.phase == "Pending" and not pod.waiting for pod in job.pods)
        for job in jobs
    )


def _job(body: Body, pods: Iterable[Body], held: HeldUp | None) -> ObservedJob:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    seen = ObservedJob(
        name=metadata["name"],
        job=metadata["labels"].get(labels.JOB, ""),
        attempt=_attempt(body),
        created_at=_time(metadata["creationTimestamp"]),
        started_at=_time(status["startTime"]) if status.get("startTime") else None,
        shards=spec.get("completions") or 1,
        # A Job that its queue let go counts as suspended until the Job controller notices.
        suspended=bool(spec.get("suspend")) or _is(body, "Suspended"),
        stopping="deletionTimestamp" in metadata,
        pods=_pods(pods, status, held),
    )
    verdict = _verdict(body) or (held.no_pods(seen) if held else {})
    return replace(
        seen,
        ended=verdict.get("type", ""),
        reason=verdict.get("reason", ""),
        message=verdict.get("message", ""),
    )


def _pods(bodies: Iterable[Body], job_status: Body, held: HeldUp | None) -> tuple[ObservedPod, ...]:
    """Returns the pods of a Job, except those that failed because the Job was suspended.

    A queue evicts a Job by suspending it. The Job controller then stops tracking the Job's pods,
    deletes them, and counts no failure.
    """
    failing = bool(job_status.get("failed"))
    seen = [
        pod
        for body in bodies
        if (pod := _pod(body, held)).phase != "Failed" or failing or _is_tracked(body["metadata"])
    ]
    return tuple(sorted(seen, key=lambda pod: pod.index))


def _is_tracked(metadata: Body) -> bool:
    """Returns whether the Job controller still tracks a pod, or will keep it."""
    return "deletionTimestamp" not in metadata or _TRACKED in (metadata.get("finalizers") or ())


def _is(body: Body, condition: str) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(c["type"] == condition and c["status"] == "True" for c in conditions)


def _verdict(body: Body) -> Mapping[str, Any]:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next(
        (c for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"),
        {},
    )


def _pod(body: Body, held: HeldUp | None) -> ObservedPod:
    status = body.get("status") or {}
    container: Body = next(
        (c for c in status.get("containerStatuses") or () if c["name"] == CONTAINER), {}
    )
    state = container.get("state") or {}
    ended = state.get("terminated") or {}
    waiting, message = _waiting(status, state)
    if held and not waiting and not ended and held.includes(status, state):
        waiting, message = HELD_UP, held.causes(body["metadata"]["name"])
    disruption = _disruption(status)
    if disruption.get("reason") == _NODE_LOST and not ended:
        waiting, message = _NODE_LOST, _of_lost_node(body)
    return ObservedPod(
        index=_index(body),
        phase=_phase(status, ended),
        finished_at=_time(ended["finishedAt"]) if ended.get("finishedAt") else None,
        exit_code=ended.get("exitCode"),
        container_reason=ended.get("reason", "") if ended.get("exitCode") else "",
        result=_result(ended.get("message", "")),
        last_words=_last_words(ended.get("message", "")),
        disrupted=bool(disruption),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        waiting=waiting,
        waiting_message=message,
    )


def _disruption(status: Body) -> Body:
    """Returns the condition of a pod that was preempted, evicted or drained; empty otherwise."""
    conditions = status.get("conditions") or ()
    found = (c for c in conditions if c["type"] == "DisruptionTarget" and c["status"] == "True")
    return next(found, {})


def _of_lost_node(body: Body) -> str:
    """Returns the message for a pod that was deleted because its node no longer answers."""
    node = body.get("spec", {}).get("nodeName", "")
    return (
        f"node {node} is not ready, and only it can say that pod {body['metadata']['name']} has "
        "ended; if it is gone for good, delete the Node, or taint it with "
        "node.kubernetes.io/out-of-service"
    )


def _phase(status: Body, ended: Body) -> Literal["Pending", "Running", "Succeeded", "Failed"]:
    """Returns a pod's phase. The end of its container is known before the kubelet sets the phase."""
    if "exitCode" in ended:
        return "Failed" if ended["exitCode"] else "Succeeded"
    return _PHASES.get(status.get("phase", ""), "Running")


def _waiting(status: Body, state: Body) -> tuple[str, str]:
    """Returns why a pod does not start: what its container waits for, or the scheduler's reason."""
    waiting = state.get("waiting") or {}
    if waiting.get("reason", "") not in _USUAL:
        return waiting["reason"], waiting.get("message", "")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason", "Unschedulable"), condition.get("message", "")
    return "", ""


def _index(body: Body) -> int:
    metadata = body["metadata"]
    text = (metadata.get("annotations") or {}).get(labels.COMPLETION_INDEX, "0")
    return int(text) if text.isdecimal() else 0


def _result(message: str) -> Result | None:
    """Returns the result that a worker wrote, None if it wrote none."""
    try:
        return Result.model_validate_json(message) if message.startswith("{") else None
    except ValidationError:
        return None


def _last_words(message: str) -> str:
    """Returns the last line of a container's log, empty if it is not printable."""
    lines = [" ".join(line.split()) for line in message.splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return last[:MAX_LAST_WORDS] if last.isprintable() else ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
