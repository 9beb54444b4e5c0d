import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.control_plane import Cluster

PROFILE = "computeprofile/default"
UPGRADE = ("--set", "computeProfiles.default.nodes=2,computeProfiles.large.nodes=8")


@pytest.fixture
def plane() -> Iterator[Cluster]:
    """A control plane for one test: definitions and profiles are cluster-wide and outlive it."""
    with Cluster() as running:
        yield running


@pytest.fixture
def place(plane: Cluster) -> str:
    """A namespace that enforces Pod Security's restricted level."""
    plane.create_namespace("lab")
    plane.kubectl("label", "namespace", "lab", "pod-security.kubernetes.io/enforce=restricted")
    return "lab"


def _upgrade(plane: Cluster, chart: Path, place: str, *arguments: str) -> None:
    plane.helm("upgrade", "--install", "learn", str(chart), "--namespace", place, *arguments)


def _get(plane: Cluster, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plane.kubectl("get", *what, "-o", "json"))
    return found


@pytest.mark.parametrize("side", ["auto", "false"])
def test_one_install_brings_everything(plane: Cluster, chart: Path, place: str, side: str) -> None:
    """One helm install into an empty cluster brings kinds, a profile and an admitted pod."""
    _upgrade(plane, chart, place, f"--server-side={side}")
    assert _get(plane, PROFILE)["spec"]["nodes"] == 1
    pods = ("pods", "-n", place, "-l", "app.kubernetes.io/instance=learn")
    plane.kubectl("wait", "--for=create", *pods, "--timeout=30s")
    assert _get(plane, *pods)["items"]


def test_upgrade_takes_the_profiles_over(plane: Cluster, chart: Path, place: str) -> None:
    """An upgrade changes a profile in place, adds another, and a third run changes nothing."""
    _upgrade(plane, chart, place)
    before = _get(plane, PROFILE)["metadata"]["uid"]
    _upgrade(plane, chart, place, *UPGRADE)
    after = _get(plane, PROFILE)
    assert (after["metadata"]["uid"], after["spec"]["nodes"]) == (before, 2)
    assert _get(plane, "computeprofile/large")["spec"]["nodes"] == 8
    _upgrade(plane, chart, place, *UPGRADE)
    assert (
        _get(plane, PROFILE)["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    )


def test_profiles_and_kinds_survive_uninstalling(plane: Cluster, chart: Path, place: str) -> None:
    """Uninstalling keeps definitions and profiles, and the same release can come back."""
    _upgrade(plane, chart, place)
    plane.helm("uninstall", "learn", "--namespace", place)
    assert _get(plane, PROFILE)
    _upgrade(plane, chart, place)
    assert _get(plane, "deployment", "-n", place)["items"]


def test_operator_may_do_its_work_and_no_more(plane: Cluster, chart: Path, place: str) -> None:
    """The API server grants the operator's account its verbs and refuses it Secrets."""
    _upgrade(plane, chart, place)
    account = f"--as=system:serviceaccount:{place}:learn-autodidact-operator"

    def may(verb: str, resource: str, namespace: str = "default") -> bool:
        name, _, part = resource.partition("/")
        question = ("auth", "can-i", verb, name, f"--subresource={part}", "-n", namespace)
        answer = plane.kubectl(*question, account, check=False)
        return answer.strip() == "yes"

    assert may("create", "jobs.batch")
    assert may("patch", "selfrewardruns.autodidact.dev/status")
    assert may("update", "leases.coordination.k8s.io", place)
    assert not may("update", "leases.coordination.k8s.io")
    assert not may("get", "secrets", place)
    assert not may("create", "pods")
    assert not may("patch", "selfrewardruns.autodidact.dev")
