from typing import Any

import pytest

from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec, words
from support.decisions import attempts, see
from support.world import World

CAUSES = {
    "disrupted": ({"exit_code": 137, "disrupted": True}, "Disrupted", 0),
    "stopped": ({"exit_code": 143}, "Stopped", 0),
    "told to stop": ({"result": words("stopped", "Stopped", "saved")}, "Stopped", 0),
    "out of memory": ({"exit_code": 137, "container_reason": "OOMKilled"}, "OutOfMemory", 1),
    "told to retry": (
        {"exit_code": 75, "result": words("retry", "StoreBusy", "503")},
        "StoreBusy",
        1,
    ),
    "crashed": ({"exit_code": 139}, "Error", 1),
    "no room on the node": ({"exit_code": 137, "reason": "Evicted", "message": "x"}, "Evicted", 1),
    "over its own limit": (
        {"exit_code": 143, "reason": "Evicted", "message": "exceeds its limit"},
        "Evicted",
        1,
    ),
    "vanished": ({"exit_code": None, "container_reason": ""}, "WorkerFailed", 1),
}


@pytest.mark.parametrize(("fields", "reason", "charged"), CAUSES.values(), ids=CAUSES)
def test_failures_are_charged_by_their_cause(
    fields: dict[str, Any], reason: str, charged: int
) -> None:
    """An attempt's end is charged once, by its cause, and the next waits for its time."""
    failed = job("import", pod("Failed", **fields))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    (books,) = decision.status.jobs
    assert (books.reason, books.failures, books.disruptions) == (reason, charged, 1 - charged)
    assert (books.counted, books.retry_at) == (1, later(5).isoformat())
    assert decision.create == ()
    assert decision.wake_at == later(5)
    again = see(failed, before=decision.status, seconds=1)
    assert (again.status, again.events) == (decision.status, ())
    assert attempts(see(failed, before=decision.status, seconds=5)) == [("import", 2)]


def test_the_kubelets_words_are_told() -> None:
    """What the kubelet says of a pod that it evicted is in the next attempt's reason."""
    evicted = pod("Failed", exit_code=137, reason="Evicted", message="exceeds the limit of 1Mi")
    decision = see(job("import", evicted), before=begun(at_attempt("import", 1)))
    assert decision.status.jobs[0].message == "Job import-1 failed: exceeds the limit of 1Mi"


@pytest.mark.parametrize("code", ["user", "retry"])
def test_the_failing_stage_of_a_job_is_named(code: str) -> None:
    """A Job of several stages says which one failed; the one named as the Job is not told twice."""
    for stage, told in (("import-ift", "import-ift: no room"), ("import", "no room")):
        failed = job("import", pod("Failed", result=words(code, "Full", "no room", stage)))
        decision = see(failed, before=begun(at_attempt("import", 1)), backoffLimit=0)
        assert builders.ready(decision.status).message == f"import: {told}"
        assert decision.status.jobs[0].message == told


def test_first_failing_pod_is_the_cause() -> None:
    """What the pod says that failed first goes, whatever the order of the list."""
    first = pod("Failed", 1, finished_at=NOW, result=words("retry", "NaNLoss", "loss is NaN"))
    second = pod("Failed", 0, finished_at=later(3), result=words("retry", "LostPeer", "rank 1"))
    for pods in (first, second), (second, first):
        decision = see(job("import", *pods, shards=2), before=begun(at_attempt("import", 1)))
        assert decision.status.jobs[0].reason == "NaNLoss"


def test_last_words_of_a_log_are_told() -> None:
    """A program that could not start tells why in its attempt's message."""
    failed = pod("Failed", exit_code=1, last_words="exec /usr/bin/python: exec format error")
    decision = see(job("import", failed), before=begun(at_attempt("import", 1)))
    assert decision.status.jobs[0].message == (
        "Job import-1 failed with exit code 1: exec /usr/bin/python: exec format error; "
        "see kubectl logs job/import-1"
    )


@pytest.mark.parametrize("exit_code", [64, 1])
def test_user_failures_are_never_tried_again(exit_code: int) -> None:
    """What the user must mend fails the run at once with the worker's own sentence."""
    said = words("user", "InvalidData", "line 3 of ift.jsonl has no response")
    failed = job("import", pod("Failed", exit_code=exit_code, result=said))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    assert decision.status.phase == "Failed"
    condition = builders.ready(decision.status)
    assert condition.reason == "InvalidData"
    assert condition.message == "import: line 3 of ift.jsonl has no response"


def test_user_failure_without_words_points_at_the_log() -> None:
    """Exit code 64 alone is enough to end the run; the message says where to look."""
    failed = job("import", pod("Failed", exit_code=64))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    assert decision.status.phase == "Failed"
    assert "kubectl logs job/import-1" in builders.ready(decision.status).message


def test_success_without_artifact_is_no_success() -> None:
    """A Job that completed without publishing is tried again, and says what may be wrong."""
    world = World(spec=spec(backoffLimit=0))
    world.step()
    name = world.live("import").seen.name
    world.change(name, pods=(pod("Succeeded"),), ended="Complete")
    world.step()
    assert world.status.phase == "Failed"
    assert builders.ready(world.status).reason == "NotPublished"


def test_failed_job_without_failed_pod_tells_the_jobs_reason() -> None:
    """Where Kubernetes ended the Job itself, its own reason is shown, not a guess at the store."""
    failed = job(
        "sample-1",
        pod("Succeeded", 0),
        shards=2,
        ended="Failed",
        reason="DeadlineExceeded",
        message="Job was active longer than specified deadline",
    )
    decision = see(failed, before=begun(at_attempt("sample-1", 1)), until="train-sft")
    (books,) = (entry for entry in decision.status.jobs if entry.name == "sample-1")
    assert books.reason == "DeadlineExceeded"


@pytest.mark.parametrize("reason", ["Error", "", "not camel case", "X" * 5000, "\u00e9\u00e8"])
def test_any_reason_a_worker_gives_is_survived(reason: str) -> None:
    """A reason that Kubernetes would refuse in a condition is replaced, never written."""
    failed = job("import", pod("Failed", result=words("user", reason, "m" * 4000)))
    condition = builders.ready(see(failed, before=begun(at_attempt("import", 1))).status)
    assert condition.reason in ("Error", "WorkerFailed")
