import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from minio import Minio

from support.chart import rendering
from tools.cluster.control_plane import Cluster
from tools.cluster.object_store import ObjectStore
from tools.cluster.waiting import eventually
from tools.installation import NODE, RELEASE, SYSTEM, Installation, previous_chart

EXAMPLE = rendering.CHART.parents[1] / "crds" / "examples" / "selfreward-minimal.yaml"
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

    def may(verb: str, resource: str, namespace: str = "default", called: str = "") -> bool:
        kind, _, part = resource.partition("/")
        what = f"{kind}/{called}" if called else kind
        question = ("auth", "can-i", verb, what, f"--subresource={part}", "-n", namespace)
        answer = plane.kubectl(*question, account, check=False)
        return answer.strip() == "yes"

    assert may("create", "jobs.batch")
    assert may("patch", "selfrewardruns.autodidact.dev/status")
    lease = "leases.coordination.k8s.io"
    assert may("update", lease, place, "learn-autodidact-operator")
    assert not may("update", lease, place, "somebody-elses")
    assert not may("update", lease, called="learn-autodidact-operator")
    assert not may("get", "secrets", place)
    assert not may("create", "pods")
    assert not may("patch", "selfrewardruns.autodidact.dev")


def test_definitions_are_upgraded_with_the_chart(
    plane: Cluster, chart: Path, place: str, tmp_path: Path
) -> None:
    """A field that an older chart did not know is there after an upgrade, and so are the runs."""
    older = previous_chart(tmp_path / "older")
    run = yaml.safe_load(EXAMPLE.read_text())
    run["metadata"] = {"name": "first", "namespace": "default"}
    newer = {**run, "spec": {**run["spec"], "ttlSecondsAfterFinished": 60}}
    strict = ("apply", "--server-side", "--validate=strict", "-f", "-")

    _upgrade(plane, older, place)
    before = plane.kubectl(*strict, "-o", "jsonpath={.metadata.uid}", input_text=json.dumps(run))
    assert "not declared" in _refusal(plane, *strict, input_text=json.dumps(newer))
    _upgrade(plane, chart, place)
    # The API server learns of a definition a moment after it was stored.
    eventually(lambda: not _refusal(plane, *strict, input_text=json.dumps(newer)))
    after = plane.get("selfrewardrun", "first", "default")
    assert after["metadata"]["uid"] == before
    assert after["spec"]["ttlSecondsAfterFinished"] == 60


def _refusal(plane: Cluster, *arguments: str, input_text: str) -> str:
    """Runs kubectl; returns why it failed, nothing if it did not."""
    done = subprocess.run(
        [plane.tool("kubectl"), *arguments],
        env=os.environ | plane.environment,
        input=input_text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_minio_keeps_its_password(plane: Cluster, chart: Path, place: str) -> None:
    """The password is made up at the first installation and is the same after an upgrade."""
    # There is no node, so that hooks would wait for ever.
    given = ("--set", "minio.enabled=true", "--no-hooks")

    def passwords() -> set[str]:
        secrets = [_get(plane, "secret/autodidact-store", "-n", n) for n in (place, "default")]
        return {base64.b64decode(secret["data"]["secretKey"]).decode() for secret in secrets}

    _upgrade(plane, chart, place, *given)
    [first] = passwords()
    assert len(first) == 32
    pods = ("pods", "-n", place, "-l", "app.kubernetes.io/name=minio")
    plane.kubectl("wait", "--for=create", *pods, "--timeout=30s")
    _upgrade(plane, chart, place, *given, "--set", "replicas=1")
    assert passwords() == {first}


def test_the_bucket_is_made_once(minio: ObjectStore) -> None:
    """The hook's program makes the bucket, and a second time finds it."""
    keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
    environment = {
        "ENDPOINT": f"http://{minio.endpoint}",
        "BUCKET": "made-by-the-chart",
        "ACCESS_KEY": minio.access_key,
        "SECRET_KEY": minio.secret_key,
    }
    program = (rendering.CHART / "files" / "make_bucket.py").read_text()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
        assert Minio(minio.endpoint, **keys, secure=False).bucket_exists("made-by-the-chart")


@pytest.mark.cluster
def test_helm_test_says_whether_the_release_works() -> None:
    """Helm test passes with a healthy operator, and fails when a kind is not served."""
    with Cluster() as cluster:
        cluster.add_node(NODE)
        Installation(cluster=cluster).install()
        test = ("test", RELEASE, "--namespace", SYSTEM, "--timeout", "60s")
        assert "Succeeded" in cluster.helm(*test)
        cluster.kubectl("delete", "crd", "reftruns.autodidact.dev")
        assert "Failed" in cluster.helm(*test, check=False)
