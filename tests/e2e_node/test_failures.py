"""What only a real node can do to a stage, and that the run tells it within seconds."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from autodidact_contract.base import GROUP
from cluster.control_plane import Cluster
from cluster.waiting import eventually
from e2e import manifests
from installation import SECRET, Installation
from real_node.images import NodeImages

TELL_S = 10.0
Body = dict[str, Any]


class Stage:
    """The first stage of a small run, with a ComputeProfile of the test's own.

    Attributes:
        namespace: Of the run; the profile has the same name.
    """

    def __init__(self, installation: Installation, namespace: str) -> None:
        self._installed = installation
        self._cluster = installation.cluster
        self.namespace = namespace

    def start(self, profile: Body | None = None, **spec: Any) -> None:
        """Applies the profile and the run; returns when the run has a Job.

        Args:
            profile: Fields of the ComputeProfile.
            spec: Fields of the run.
        """
        small = {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
        names = dict.fromkeys(("generate", "train", "default"), self.namespace)
        self._cluster.apply(
            {
                "apiVersion": "autodidact.dev/v1alpha1",
                "kind": "ComputeProfile",
                "metadata": {"name": self.namespace},
                "spec": {**small, **(profile or {})},
            },
            manifests.tiny(self.namespace, compute=names, **spec),
        )
        eventually(lambda: self._items("jobs"))

    def pod(self, **labels: str) -> Body:
        """Returns the first pod with these labels of ours, an empty dictionary without one."""
        for pod in self._items("pods"):
            has = pod["metadata"]["labels"]
            if all(has.get(f"{GROUP}/{name}") == value for name, value in labels.items()):
                return pod
        return {}

    def logs(self, pod: str) -> str:
        """Returns what a pod has printed, nothing if it is not there."""
        return self._cluster.kubectl("-n", self.namespace, "logs", pod, check=False)

    def status(self) -> Body:
        """Returns the run's status."""
        return self._installed.status(self.namespace, "tiny")

    def told(self) -> str:
        """Returns everything the run's conditions and stages say."""
        status = self.status()
        said = (*status.get("conditions", ()), *status.get("stages", ()))
        return "; ".join(f"{one.get('reason')}: {one.get('message')}" for one in said)

    def tells(self, cause: Callable[[], object], *words: str) -> None:
        """Waits for the cause and asserts that the run says all words soon after it."""
        eventually(cause, 120)
        began = time.monotonic()
        eventually(lambda: all(word in self.told() for word in words), 60)
        took = time.monotonic() - began
        assert took <= TELL_S, f"told after {took:.1f} s: {self.told()}"

    def _items(self, kind: str) -> list[Body]:
        found: list[Body] = self._cluster.get(kind, namespace=self.namespace)["items"]
        return found


@pytest.fixture
def stage(installation: Installation, namespace: str) -> Stage:
    """A place for one run."""
    return Stage(installation, namespace)


def _container(pod: Body) -> Body:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: Body = statuses[0].get("state", {})
    return state


def test_image_that_cannot_be_pulled(stage: Stage) -> None:
    """The kubelet's word on the image is the run's reason."""
    stage.start({"image": "localhost/autodidact/nothing:1"})
    stage.tells(lambda: _container(stage.pod()).get("waiting"), "ImagePull")


def test_unschedulable_gpus(stage: Stage) -> None:
    """The scheduler's count of what is missing is in the run's message."""
    stage.start({"resources": {"limits": {"nvidia.com/gpu": 8}}})
    stage.tells(lambda: stage.pod().get("status", {}).get("conditions"), "nvidia.com/gpu")


def test_quota_exceeded(cluster: Cluster, stage: Stage) -> None:
    """A Job whose pods a quota forbids is named with the quota as the likely cause."""
    cluster.kubectl("create", "quota", "none", "--hard=pods=0", "--namespace", stage.namespace)
    stage.start()
    stage.tells(lambda: True, "quota")


def test_missing_secret(cluster: Cluster, stage: Stage) -> None:
    """The Secret that is missing is named."""
    cluster.kubectl("delete", "secret", SECRET, "--namespace", stage.namespace)
    stage.start()
    stage.tells(lambda: stage.pod().get("spec", {}).get("nodeName"), SECRET)


def test_out_of_memory(stage: Stage) -> None:
    """What the kernel kills for its memory is OutOfMemory, with what to raise."""
    stage.start({"resources": {"limits": {"cpu": "1", "memory": "64Mi"}}})
    stage.tells(lambda: _container(stage.pod()).get("terminated"), "ran out of memory")


def test_exec_format_error(stage: Stage, node_images: NodeImages) -> None:
    """A program for another processor is a failed attempt that points to its logs."""
    stage.start({"image": node_images.foreign})
    stage.tells(lambda: _container(stage.pod()).get("terminated"), "exit code", "kubectl logs")


def test_eviction(cluster: Cluster, stage: Stage) -> None:
    """An evicted stage is done again and costs the run no attempt."""
    stage.start(warmUp={"epochs": 200})
    first = {"job": "train-sft", "attempt": "1"}
    # A program that has not come far enough to hear the signal goes on to its end.
    name = eventually(lambda: stage.pod(**first).get("metadata", {}).get("name"), 60)
    eventually(lambda: "progress" in stage.logs(name), 60)
    cluster.evict(stage.namespace, name)
    stage.tells(lambda: _has_ended(stage.pod(**first)), "Disrupted")
    eventually(lambda: stage.pod(job="train-sft", attempt="2"), 60)
    (books,) = (job for job in stage.status()["jobs"] if job["name"] == "train-sft")
    assert (books.get("disruptions"), books.get("failures", 0)) == (1, 0)


def _has_ended(pod: Body) -> bool:
    return not pod or "terminated" in _container(pod)
