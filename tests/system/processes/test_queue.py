"""Kueue's way of working, played by hand: Jobs are created suspended, admitted, evicted, admitted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from autodidact_operator.cluster import labels
from support import manifests
from support.deployed import House, Place
from tools.cluster.waiting import eventually

QUEUE = "research"
FLAVOR = {"play": "scripted"}
"""What Kueue writes into the pods of an admitted Job: where its quota is."""


class Queue:
    """Does to the Jobs of a namespace what Kueue does."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def waiting(self, run: str) -> list[str]:
        """Returns the names of a run's Jobs that it holds back."""
        return [
            job["metadata"]["name"]
            for job in self._place.jobs(run)
            if job["spec"]["suspend"] and "deletionTimestamp" not in job["metadata"]
        ]

    def admit(self, job: str) -> None:
        """Says on which nodes the Job may run, and lets it."""
        if not self.job(job)["spec"]["template"]["spec"].get("nodeSelector"):
            self._patch(job, {"template": {"spec": {"nodeSelector": FLAVOR}}})
        self._patch(job, {"suspend": False})

    def evict(self, job: str) -> None:
        """Takes the Job's place away; returns when its pods are gone."""
        self._patch(job, {"suspend": True})
        pods = ("pods", "-l", f"batch.kubernetes.io/job-name={job}", "-o", "name")
        eventually(lambda: not self._place.kubectl("get", *pods))

    def job(self, name: str) -> dict[str, Any]:
        """Returns a Job."""
        return self._place.house.cluster.get("job", name, self._place.namespace)

    def _patch(self, job: str, spec: dict[str, Any]) -> None:
        change = json.dumps({"spec": spec})
        self._place.kubectl("patch", "job", job, "--type=strategic", "-p", change)


@pytest.fixture(scope="module")
def queued(house: House) -> Iterator[str]:
    """A ComputeProfile with a queue; only the queue knows of nodes that can take its pods."""
    profile = {
        "apiVersion": "autodidact.dev/v1alpha1",
        "kind": "ComputeProfile",
        "metadata": {"name": "queued"},
        "spec": {
            "queueName": QUEUE,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        },
    }
    house.cluster.apply(profile)
    yield "queued"
    house.cluster.kubectl("delete", "computeprofile", "queued")


def test_an_evicted_job_goes_on_as_the_same_attempt(place: Place, queued: str) -> None:
    """A stage that Kueue evicts is not failed, not tried elsewhere and charged to nobody."""
    name = place.apply(manifests.scripted(place.namespace, profile=queued))
    queue, script = Queue(place), place.script(name)
    script.delays["train-sft"] = 60
    evicted = _admit_all(place, queue, name, until="train-sft")
    first = _pod_of(place, evicted)
    queue.evict(evicted)
    assert place.status(name)["phase"] in ("Pending", "Running")
    assert queue.waiting(name) == [evicted]

    script.delays.clear()
    queue.admit(evicted)
    second = eventually(lambda: _pod_of(place, evicted))
    assert second != first
    eventually(lambda: _ended(place, queue, name))
    status = place.status(name)
    assert status["phase"] == "Succeeded"
    assert set(place.created_jobs(place.uid(name)).values()) == {1}
    assert {job["metadata"]["labels"][labels.ATTEMPT] for job in place.jobs(name)} == {"1"}


def test_what_kueue_writes_into_a_job_stays(place: Place, queued: str) -> None:
    """The operator labels the Job for its queue and never touches suspend or node selectors."""
    name = place.apply(manifests.scripted(place.namespace, profile=queued))
    queue = Queue(place)
    job = eventually(lambda: queue.waiting(name))[0]
    held = queue.job(job)
    assert held["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == QUEUE
    assert not held["status"].get("active")
    eventually(lambda: _ended(place, queue, name))
    admitted = queue.job(job)
    assert admitted["spec"]["suspend"] is False
    assert admitted["spec"]["template"]["spec"]["nodeSelector"] == FLAVOR


def _admit_all(place: Place, queue: Queue, run: str, until: str) -> str:
    """Admits Jobs as they come; returns the name of the one whose pod works on a job."""

    def look() -> str | None:
        if (until, 1) in place.script(run).seen:
            return next(n for n in place.active_jobs(run) if f"-{until}-" in n)
        _admit_waiting(queue, run)
        return None

    found = eventually(look)
    assert found
    return found


def _ended(place: Place, queue: Queue, run: str) -> bool:
    """Admits what waits; returns whether the run has ended."""
    _admit_waiting(queue, run)
    return place.status(run).get("phase") in ("Succeeded", "Failed")


def _admit_waiting(queue: Queue, run: str) -> None:
    for job in queue.waiting(run):
        queue.admit(job)


def _pod_of(place: Place, job: str) -> str:
    """Returns the UID of a Job's pod, empty while there is none."""
    chosen = (
        "-l",
        f"batch.kubernetes.io/job-name={job}",
        "-o",
        "jsonpath={.items[*].metadata.uid}",
    )
    return place.kubectl("get", "pods", *chosen)
