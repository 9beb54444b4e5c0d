"""What only a real node can do to a stage, and that the run tells it within seconds."""

import time
from collections.abc import Callable
from typing import Any

import pytest

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

    def start(self, **profile: Any) -> None:
        """Applies the profile and the run; returns when the run has a Job."""
        meta = {"name": self.namespace}
        spec = {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}, **profile}
        compute = {"generate": self.namespace, "train": self.namespace, "default": self.namespace}
        self._cluster.apply(
            {**_COMPUTE_PROFILE, "metadata": meta, "spec": spec},
            manifests.tiny(self.namespace, compute=compute),
        )
        eventually(lambda: self._items("jobs"))

    def pod(self) -> Body:
        """Returns the first pod, an empty dictionary while there is none."""
        found = self._items("pods")
        return found[0] if found else {}

    def told(self) -> str:
        """Returns everything the run's conditions say."""
        status = self._installed.status(self.namespace, "tiny")
        return " ".join(
            f"{c.get('reason')}: {c.get('message')}" for c in status.get("conditions", ())
        )

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


_COMPUTE_PROFILE = {"apiVersion": "autodidact.dev/v1alpha1", "kind": "ComputeProfile"}


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
    stage.start(image="localhost/autodidact/nothing:1")
    stage.tells(lambda: _container(stage.pod()).get("waiting"), "ImagePull")


def test_unschedulable_gpus(stage: Stage) -> None:
    """The scheduler's count of what is missing is in the run's message."""
    stage.start(resources={"limits": {"nvidia.com/gpu": 8}})
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
    stage.start(resources={"limits": {"cpu": "1", "memory": "64Mi"}})
    stage.tells(lambda: _container(stage.pod()).get("terminated"), "ran out of memory")


def test_exec_format_error(stage: Stage, node_images: NodeImages) -> None:
    """A program for another processor is a failed attempt that points to its logs."""
    stage.start(image=node_images.foreign)
    stage.tells(lambda: _container(stage.pod()).get("terminated"), "exit code", "kubectl logs")


def test_eviction(cluster: Cluster, stage: Stage) -> None:
    """An evicted stage is done again and costs the run no attempt."""
    stage.start()
    eventually(lambda: _container(stage.pod()).get("running"), 60)
    name = stage.pod()["metadata"]["name"]
    cluster.evict(stage.namespace, name)
    stage.tells(lambda: name != stage.pod().get("metadata", {}).get("name"), "isrupt")
