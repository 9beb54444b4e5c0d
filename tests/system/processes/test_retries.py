"""How attempts end, and what each end is charged to."""

import pytest

from autodidact_operator.cluster import labels
from support import manifests
from support.deployed import Place, message, why
from support.scripted_stages import refusing
from tools.cluster.outcomes import Outcome
from tools.cluster.waiting import eventually

pytestmark = pytest.mark.usefixtures("collector")

JOB = "evaluate-0"


def _attempts(place: Place, name: str, job: str = JOB) -> list[str]:
    found = place.created_jobs(place.run(name)["metadata"]["uid"])
    assert set(found.values()) == {1}
    return sorted(n for n in found if n.rpartition("-")[0].endswith(job))


def test_an_eviction_is_free(place: Place) -> None:
    """An evicted pod's job is done again although no failure is allowed."""
    body = manifests.scripted(place.namespace, backoffLimit=0)
    name = body["metadata"]["name"]
    script = place.script(name)
    script.delays[JOB] = 60
    place.apply(body)
    eventually(lambda: (JOB, 1) in script.seen)
    script.delays.clear()
    place.house.cluster.evict(place.namespace, script.seen[JOB, 1]["metadata"]["name"])
    assert place.until_ended(name)["phase"] == "Succeeded"
    assert len(_attempts(place, name)) == 2


def test_a_job_that_a_human_deletes_is_created_again(place: Place) -> None:
    """A deleted Job is no failure of the run."""
    body = manifests.scripted(place.namespace, backoffLimit=0)
    name = body["metadata"]["name"]
    script = place.script(name)
    script.delays[JOB] = 60
    place.apply(body)
    eventually(lambda: (JOB, 1) in script.seen)
    script.delays.clear()
    (job,) = (j for j in place.jobs(name) if j["metadata"]["labels"][labels.JOB] == JOB)
    place.kubectl("delete", "job", job["metadata"]["name"], "--wait=false")
    assert place.until_ended(name)["phase"] == "Succeeded"
    assert len(_attempts(place, name)) == 2


def test_running_out_of_memory_gets_the_larger_size(place: Place) -> None:
    """The attempt after an OOMKilled one has the profile's larger resources."""
    body = manifests.scripted(place.namespace, profile="larger")
    name = body["metadata"]["name"]
    place.script(name).ends[JOB, 1] = Outcome(exit_code=137, reason="OOMKilled")
    place.apply(body)
    text = place.until_says(name, "Retrying")
    assert "out of memory" in text
    assert place.until_ended(name)["phase"] == "Succeeded"
    sizes = {
        attempt: pod["spec"]["containers"][0]["resources"]["requests"]["memory"]
        for (job, attempt), pod in place.script(name).seen.items()
        if job == JOB
    }
    assert sizes == {1: "128Mi", 2: "512Mi"}


def test_failures_are_tried_again_and_then_given_up(place: Place) -> None:
    """With backoffLimit 1 there are two attempts; then the run fails and names job and logs."""
    body = manifests.scripted(place.namespace, backoffLimit=1)
    name = body["metadata"]["name"]
    for attempt in (1, 2, 3):
        place.script(name).ends[JOB, attempt] = Outcome(exit_code=1)
    place.apply(body)
    status = place.until_ended(name)
    assert status["phase"] == "Failed"
    assert JOB in message(status)
    assert "exit code 1" in message(status)
    assert "kubectl logs job/" in message(status)
    assert len(_attempts(place, name)) == 2
    eventually(lambda: not place.active_jobs(name))


def test_a_worker_that_refuses_fails_the_run_at_once(place: Place) -> None:
    """Exit code 64 is never tried again, and the worker's sentence is on the run."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    sentence = "row 7 has no prompt; add one"
    place.script(name).ends[JOB, 1] = refusing("InvalidData", sentence)
    place.apply(body)
    status = place.until_ended(name)
    assert (status["phase"], why(status)) == ("Failed", "InvalidData")
    assert message(status) == f"{JOB}: {sentence}"
    assert len(_attempts(place, name)) == 1
    eventually(lambda: any(e["reason"] == "InvalidData" for e in place.events(name)))


def test_success_without_an_artifact_is_no_success(place: Place) -> None:
    """A pod that ends with 0 and has published nothing failed; nothing goes on from it."""
    body = manifests.scripted(place.namespace, backoffLimit=0)
    name = body["metadata"]["name"]
    place.script(name).ends[JOB, 1] = Outcome(exit_code=0)
    place.apply(body)
    status = place.until_ended(name)
    assert (status["phase"], why(status)) == ("Failed", "NotPublished")
