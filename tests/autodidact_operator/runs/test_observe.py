from datetime import UTC, datetime
from typing import Any

import pytest

from autodidact_operator.cluster import labels
from autodidact_operator.plan.types import ObservedJob, ObservedPod
from autodidact_operator.runs import observe
from support.builders import UID, merged

JOB_UID = "job-uid"
CREATED = "2026-03-01T12:00:00Z"


def owned_by(uid: str) -> list[dict[str, Any]]:
    """Returns the owner references of an object that another one controls."""
    return [{"uid": "another", "controller": False}, {"uid": uid, "controller": True}]


def job_body(**changes: Any) -> dict[str, Any]:
    """Returns a Job as the API server shows it."""
    body = {
        "metadata": {
            "name": "llama-abc-sample-1-2",
            "uid": JOB_UID,
            "creationTimestamp": CREATED,
            "labels": {labels.JOB: "sample-1", labels.ATTEMPT: "2"},
            "ownerReferences": owned_by(UID),
        },
        "spec": {"completions": 3},
    }
    return merged(body, changes)


def pod_body(state: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Returns a pod as the API server shows it, with its worker in a state."""
    containers = [
        {"name": "istio-proxy", "state": {"terminated": {"exitCode": 9, "reason": "Proxy"}}},
        {"name": "worker", "state": state},
    ]
    body = {
        "metadata": {
            "name": "pod",
            "annotations": {labels.COMPLETION_INDEX: "1"},
            "ownerReferences": owned_by(JOB_UID),
        },
        "status": {"phase": "Running", **({"containerStatuses": containers} if state else {})},
    }
    return merged(body, changes)


def terminated(code: int, **fields: Any) -> dict[str, Any]:
    """Returns the state of a container that has ended."""
    return {"terminated": {"exitCode": code, "finishedAt": "2026-03-01T13:00:00Z", **fields}}


def one_job(body: dict[str, Any], *pods: dict[str, Any]) -> ObservedJob:
    """Returns the only Job there is, as the planner sees it."""
    (found,) = observe.jobs([body], pods, UID)
    return found


def one_pod(body: dict[str, Any]) -> ObservedPod:
    """Returns the only pod of the only Job, as the planner sees it."""
    (found,) = one_job(job_body(), body).pods
    return found


def test_job_is_seen() -> None:
    """Name, attempt, shards and times of a Job are those of its object."""
    seen = one_job(job_body(status={"startTime": "2026-03-01T12:30:00Z"}))
    assert seen == ObservedJob(
        name="llama-abc-sample-1-2",
        job="sample-1",
        attempt=2,
        created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        started_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        shards=3,
    )


def test_deleted_job_is_stopping() -> None:
    """A Job with a deletion timestamp is being deleted."""
    assert one_job(job_body(metadata={"deletionTimestamp": CREATED})).stopping


@pytest.mark.parametrize("type_", ["Complete", "Failed"])
def test_verdict_of_a_job(type_: str) -> None:
    """A Job's own verdict is its condition of that type, if it is true."""
    true = {"type": type_, "status": "True", "reason": "Why", "message": "because"}
    others = [{"type": "SuccessCriteriaMet", "status": "True"}, {**true, "status": "False"}]
    assert one_job(job_body(status={"conditions": others})).ended == ""
    seen = one_job(job_body(status={"conditions": [*others, true]}))
    assert (seen.ended, seen.reason, seen.message) == (type_, "Why", "because")


def test_queue_holds_a_job_until_the_controller_lets_go() -> None:
    """A Job is suspended by its spec, and a moment longer, until its controller has seen it."""
    held = {"conditions": [{"type": "Suspended", "status": "True"}]}
    released = {"conditions": [{"type": "Suspended", "status": "False"}]}
    assert one_job(job_body(spec={"suspend": True})).suspended
    assert one_job(job_body(spec={"suspend": False}, status=held)).suspended
    assert not one_job(job_body(spec={"suspend": False}, status=released)).suspended


def test_job_of_another_owner_is_ignored() -> None:
    """A Job that carries the run's label but has another controller is not the run's."""
    for owners in (owned_by("other"), [], None, [{"uid": UID, "controller": False}]):
        body = job_body(metadata={"ownerReferences": owners})
        assert observe.jobs([body], [], UID) == ()


@pytest.mark.parametrize("attempt", ["", "zero", "-1", "0", "1.5", None])
def test_job_with_broken_labels_is_ignored(attempt: str | None) -> None:
    """A Job whose attempt nobody can read is none."""
    changed = {} if attempt is None else {labels.ATTEMPT: attempt}
    body = job_body()
    body["metadata"]["labels"] = changed or None
    assert observe.jobs([body], [], UID) == ()


def test_pod_belongs_to_its_controller() -> None:
    """A pod is told by the UID of the Job that controls it, not by its labels."""
    stranger = pod_body(metadata={"ownerReferences": owned_by("other-job")})
    orphan = pod_body(metadata={"ownerReferences": None})
    assert one_job(job_body(), stranger, orphan).pods == ()


def test_pods_are_in_the_order_of_their_index() -> None:
    """The order in which the API server lists pods changes nothing."""
    pods = [pod_body(metadata={"annotations": {labels.COMPLETION_INDEX: i}}) for i in "201"]
    assert [pod.index for pod in one_job(job_body(), *pods).pods] == [0, 1, 2]
    assert one_job(job_body(), *pods) == one_job(job_body(), *pods[::-1])


def test_pod_without_an_index_is_the_first() -> None:
    """A pod whose index nobody can read counts as the first."""
    assert one_pod(pod_body(metadata={"annotations": None})).index == 0
    broken = pod_body(metadata={"annotations": {labels.COMPLETION_INDEX: "x"}})
    assert one_pod(broken).index == 0


PHASES = {
    "pending": (None, "Pending", "Pending"),
    "running": ({"running": {}}, "Running", "Running"),
    "worker done, kubelet behind": (terminated(0), "Running", "Succeeded"),
    "worker failed, kubelet behind": (terminated(7), "Running", "Failed"),
    "evicted before it started": (None, "Failed", "Failed"),
    "node lost": ({"running": {}}, "Unknown", "Running"),
    "phase missing": (None, "", "Running"),
}


@pytest.mark.parametrize(("state", "phase", "seen"), PHASES.values(), ids=PHASES)
def test_phase_is_the_workers(state: dict[str, Any] | None, phase: str, seen: str) -> None:
    """A worker that ended decides, before the kubelet has said so; else the pod's phase does."""
    assert one_pod(pod_body(state, status={"phase": phase})).phase == seen


def test_failure_is_seen_whole() -> None:
    """Exit code, reason, time and last words of the worker are taken, of no other container."""
    words = '{"failure":{"code":"user","reason":"InvalidData","message":"line 3"}}'
    seen = one_pod(pod_body(terminated(64, reason="Error", message=words)))
    assert (seen.phase, seen.exit_code, seen.container_reason) == ("Failed", 64, "Error")
    assert seen.finished_at == datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert seen.result is not None
    assert seen.result.failure is not None
    assert seen.result.failure.reason == "InvalidData"


GOING = {"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 120}
TRACKED = ["batch.kubernetes.io/job-tracking"]


def test_pods_of_an_evicted_job_have_not_failed() -> None:
    """A pod that the Job controller let go and deleted holds its place, but its end is no failure."""
    evicted = pod_body(terminated(143), metadata=GOING)
    assert one_job(job_body(spec={"suspend": True}), evicted).pods == ()
    # It may still be saving its state when the queue has admitted the Job again.
    assert one_job(job_body(spec={"suspend": False}), evicted).pods == ()
    saving = pod_body({"running": {}}, metadata=GOING)
    assert [pod.phase for pod in one_job(job_body(), saving).pods] == ["Running"]


def test_pods_that_the_job_has_counted_have_failed() -> None:
    """A pod that was drained has failed, also once the Job controller has taken notice of it."""
    drained = pod_body(terminated(143), metadata=GOING)
    assert [pod.phase for pod in one_job(job_body(status={"failed": 1}), drained).pods] == [
        "Failed"
    ]


@pytest.mark.parametrize("metadata", [{"finalizers": TRACKED}, {**GOING, "finalizers": TRACKED}])
def test_pods_that_the_job_tracks_have_failed(metadata: dict[str, Any]) -> None:
    """A pod that failed, or was deleted by somebody else, ends its Job's attempt."""
    failed = pod_body(terminated(143), metadata=metadata)
    assert [pod.phase for pod in one_job(job_body(), failed).pods] == ["Failed"]


def test_exit_code_zero_is_success_whatever_the_reason() -> None:
    """A worker that published and whose child was killed for memory has succeeded."""
    seen = one_pod(pod_body(terminated(0, reason="OOMKilled")))
    assert (seen.phase, seen.container_reason) == ("Succeeded", "")


def test_termination_without_time() -> None:
    """A container of a lost node has no time of its end."""
    assert one_pod(pod_body({"terminated": {"exitCode": 137, "finishedAt": None}})).exit_code == 137


GARBAGE = (
    "",
    "Traceback (most recent call last):",
    "{",
    "{}x",
    "[]",
    "null",
    '{"failure": 3}',
    '{"failure":{"code":"surprise","reason":"A","message":"b"}}',
    '{"published":{},"more":1}',
    '{"published":{"a":"\\ud800"}}',
    "\x00{}",
    "{" * 4096,
)


@pytest.mark.parametrize("message", GARBAGE)
def test_garbage_is_no_result(message: str) -> None:
    """Last words that are not in our form are not taken for a result."""
    assert one_pod(pod_body(terminated(1, message=message))).result is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("exec /usr/bin/python: exec format error\n", "exec /usr/bin/python: exec format error"),
        (
            "Traceback (most recent call last):\n  ...\nImportError: no\ttorch\n\n",
            "ImportError: no torch",
        ),
        ("x" * 1000, "x" * 300),
        ("\x1b[31mred\x1b[0m", ""),
        ("", ""),
    ],
)
def test_a_log_has_last_words(message: str, words: str) -> None:
    """The last line of what the kubelet kept of a log is taken, in bounds and if it is text."""
    assert one_pod(pod_body(terminated(1, message=message))).last_words == words


def test_empty_result_is_a_result() -> None:
    """A worker may have nothing to say."""
    assert one_pod(pod_body(terminated(0, message="{}"))).result is not None


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "InvalidImageName"]
)
def test_container_says_why_it_waits(reason: str) -> None:
    """What keeps a container from starting is shown."""
    state = {"waiting": {"reason": reason, "message": "details"}}
    seen = one_pod(pod_body(state, status={"phase": "Pending"}))
    assert (seen.phase, seen.waiting, seen.waiting_message) == ("Pending", reason, "details")


@pytest.mark.parametrize("state", [{}, {"reason": "ContainerCreating"}, {"reason": ""}])
def test_usual_waiting_is_not_told(state: dict[str, Any]) -> None:
    """What every pod passes through is no reason to worry anybody."""
    assert one_pod(pod_body({"waiting": state}, status={"phase": "Pending"})).waiting == ""


def test_scheduler_says_why_it_waits() -> None:
    """A pod that no node takes shows the scheduler's words, with a reason if it gives one."""
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}
    status = {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}, condition]}
    seen = one_pod(pod_body(status=status))
    assert (seen.waiting, seen.waiting_message) == ("Unschedulable", "0/3 nodes")
    condition["reason"] = "SchedulingGated"
    assert one_pod(pod_body(status=status)).waiting == "SchedulingGated"


def test_disruption_is_seen() -> None:
    """A pod that was preempted, evicted or drained says so."""
    status = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert one_pod(pod_body(terminated(137), status=status)).disrupted
    assert not one_pod(pod_body(terminated(137))).disrupted


def test_an_evicted_pod_has_the_kubelets_words() -> None:
    """The pod's own reason and message are kept beside its container's."""
    status = {"phase": "Failed", "reason": "Evicted", "message": "no room"}
    seen = one_pod(pod_body(terminated(137, reason="Error"), status=status))
    assert (seen.reason, seen.message, seen.container_reason) == ("Evicted", "no room", "Error")


def test_a_pod_on_a_lost_node_says_so() -> None:
    """What was deleted for its node's silence names the node until it is seen to have ended."""
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    body = pod_body({"running": {}}, status={"phase": "Running", "conditions": [lost]})
    body["spec"] = {"nodeName": "gpu-7"}
    seen = one_pod(body)
    assert (seen.phase, seen.waiting) == ("Running", "DeletionByTaintManager")
    assert "node gpu-7 is not ready" in seen.waiting_message
    assert one_pod(pod_body(terminated(143), status={"conditions": [lost]})).waiting == ""
