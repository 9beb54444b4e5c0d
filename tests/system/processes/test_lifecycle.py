"""What people do to a run at work: suspend, resume, cancel, limit in time, move, delete Jobs."""

import pytest

from autodidact_operator.cluster import labels
from support import manifests
from support.deployed import Place, conditions, message, why
from tools.cluster.waiting import eventually

pytestmark = pytest.mark.usefixtures("collector")

JOBS = (
    "import",
    "train-sft",
    "evaluate-0",
    "sample-1",
    "build-pairs-1",
    "train-dpo-1",
    "evaluate-1",
    "report",
)


@pytest.mark.parametrize("job", JOBS)
def test_a_run_can_be_suspended_and_resumed_at_any_stage(shared_place: Place, job: str) -> None:
    """A suspended run has no Job at work; resumed, it does that job again and Succeeds."""
    name = f"pause-{job}"
    body = manifests.scripted(shared_place.namespace, name, seed=200 + JOBS.index(job))
    shared_place.script(name).delays[job] = 60
    shared_place.apply(body)
    eventually(lambda: (job, 1) in shared_place.script(name).seen)
    shared_place.edit(name, suspend=True)
    status = shared_place.until(name, lambda s: s["phase"] == "Suspended")
    assert conditions(status)["Suspended"] == "True"
    eventually(lambda: not shared_place.active_jobs(name))
    shared_place.script(name).delays.clear()
    shared_place.edit(name, suspend=False)
    assert shared_place.until_ended(name)["phase"] == "Succeeded"
    uid = shared_place.run(name)["metadata"]["uid"]
    created = shared_place.created_jobs(uid)
    assert set(created.values()) == {1}
    assert any(n.endswith(f"-{job}-2") for n in created), created


def test_a_run_can_be_cancelled(place: Place) -> None:
    """Cancel ends a run as Failed with the reason Cancelled, and its Jobs with it."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    place.script(name).delays["train-sft"] = 60
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in place.script(name).seen)
    place.edit(name, cancel=True)
    status = place.until_ended(name)
    assert (status["phase"], why(status)) == ("Failed", "Cancelled")
    assert conditions(status)["Stalled"] == "True"
    eventually(lambda: not place.active_jobs(name))


def test_a_deadline_ends_a_run(place: Place) -> None:
    """A run that is not done after deadlineSeconds fails, and its Jobs end."""
    body = manifests.scripted(place.namespace, deadlineSeconds=2)
    name = body["metadata"]["name"]
    place.script(name).delays["train-sft"] = 60
    place.apply(body)
    text = place.until_says(name, "DeadlineExceeded", 30)
    assert "2 s" in text
    assert "spec.deadlineSeconds" in text
    eventually(lambda: not place.active_jobs(name))


def test_a_run_that_no_node_can_take_says_so_and_gives_up(place: Place) -> None:
    """The scheduler's reason is on the run within seconds; after startDeadlineSeconds it fails."""
    name = place.apply(
        manifests.scripted(
            place.namespace, profile="nowhere", startDeadlineSeconds=4, backoffLimit=0
        )
    )
    text = place.until_says(name, "Unschedulable", 10)
    assert "nodes are available" in text
    status = place.until_ended(name, 30)
    assert (status["phase"], why(status)) == ("Failed", "Unschedulable")
    assert "did not start within 4 s" in message(status)
    eventually(lambda: not place.active_jobs(name))


def test_an_image_that_does_not_exist_is_named_on_the_run(place: Place) -> None:
    """The kubelet's reason is on the run within seconds; after startDeadlineSeconds it fails."""
    name = place.apply(
        manifests.scripted(
            place.namespace, profile="no-image", startDeadlineSeconds=5, backoffLimit=0
        )
    )
    status = place.until(name, lambda s: why(s) in ("ErrImagePull", "ImagePullBackOff"), 10)
    assert "does-not-exist" in message(status)
    assert place.until_ended(name, 30)["phase"] == "Failed"
    eventually(lambda: not place.active_jobs(name))


@pytest.mark.parametrize(
    ("hard", "words"),
    [
        pytest.param({"pods": "0"}, ("quota", "kubectl describe job"), id="pods"),
        pytest.param({"count/jobs.batch": "0"}, ("exceeded quota: small",), id="jobs"),
    ],
)
def test_a_quota_is_named_on_the_run(
    place: Place, hard: dict[str, str], words: tuple[str, ...]
) -> None:
    """What a quota refuses is told on the run within seconds; when there is room it goes on."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    place.apply({**quota, "spec": {"hard": hard}})
    place.kubectl("wait", "--for=jsonpath={.status.hard}", "quota/small", "--timeout=30s")
    name = place.apply(manifests.scripted(place.namespace))
    status = place.until(name, lambda s: "quota" in message(s), 20)
    assert all(word in message(status) for word in words)
    assert conditions(status)["Reconciling"] == "True"
    place.kubectl("delete", "quota", "small")
    assert place.until_ended(name)["phase"] == "Succeeded"


@pytest.mark.parametrize("name", [labels.RUN_UID, labels.JOB, labels.ATTEMPT])
def test_a_label_that_a_human_removes_from_a_job(place: Place, name: str) -> None:
    """A Job that cannot be recognised any more does not stop the run, nor is it done twice."""
    body = manifests.scripted(place.namespace, startDeadlineSeconds=5)
    run = body["metadata"]["name"]
    script = place.script(run)
    script.delays["train-sft"] = 2
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in script.seen)
    (job,) = (j for j in place.jobs(run) if "-train-sft-" in j["metadata"]["name"])
    place.kubectl("label", "job", job["metadata"]["name"], f"{name}-")
    assert place.until_ended(run)["phase"] == "Succeeded"
    assert set(place.created_jobs().values()) == {1}


def test_an_unknown_profile_is_named_and_an_edit_repairs_it(place: Place) -> None:
    """The run says which profile there is not; spec.compute may be edited, and it goes on."""
    name = place.apply(manifests.scripted(place.namespace, profile="gpu-1"))
    text = place.until_says(name, "ComputeProfileNotFound")
    assert "gpu-1" in text
    assert "scripted" in text
    assert not place.jobs(name)
    profiles = dict.fromkeys(("generate", "train", "default"), "scripted")
    place.edit(name, compute=profiles)
    status = place.until_ended(name)
    assert status["phase"] == "Succeeded"
    assert status["observedGeneration"] == place.run(name)["metadata"]["generation"] == 2


def test_an_unknown_profile_is_not_waited_for_for_ever(place: Place) -> None:
    """After startDeadlineSeconds the run fails with the same sentence."""
    name = place.apply(manifests.scripted(place.namespace, profile="gpu-1", startDeadlineSeconds=2))
    status = place.until_ended(name, 30)
    assert (status["phase"], why(status)) == ("Failed", "ComputeProfileNotFound")


def test_deleting_a_run_in_the_middle_leaves_nothing(place: Place) -> None:
    """A run is gone at once, no finalizer holds it, and its Jobs and pods are collected."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    place.script(name).delays["train-sft"] = 60
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in place.script(name).seen)
    place.delete(name)
    eventually(lambda: not place.jobs(), timeout_s=120)
    chosen = ("-l", f"{labels.RUN}={name}", "-o", "name")
    eventually(lambda: not place.kubectl("get", "pods", *chosen))
