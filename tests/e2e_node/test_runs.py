"""Runs as users have them on a GPU cluster: built images, restricted pods, the chart by Helm."""

import pytest

from autodidact_contract.resources import RunStatus
from cluster.control_plane import Cluster
from demo.__main__ import EXAMPLE_RUNS, Example
from installation import Installation
from real_node.figures import phase

JOB_NAME = "batch.kubernetes.io/job-name"


@pytest.mark.parametrize("example", EXAMPLE_RUNS, ids=lambda example: example.path.stem)
def test_toy_run_succeeds(
    cluster: Cluster, installation: Installation, namespace: str, example: Example
) -> None:
    """A toy learns, and apply, wait, logs, describe and delete work on it as they do on a Job."""

    def kubectl(*arguments: str) -> str:
        return cluster.kubectl("--namespace", namespace, *arguments)

    kind, _, name = example.address.partition("/")
    with phase(f"{example.path.stem} from kubectl apply to Succeeded"):
        kubectl("apply", "--filename", str(example.path))
        ended = installation.until_ended(namespace, name, kind, timeout_s=2400)
    status = RunStatus.model_validate(ended)
    assert status.phase == "Succeeded", status.conditions
    assert not example.shortfall(status.history)
    kubectl("wait", example.address, "--for=condition=Succeeded", "--timeout=10s")
    pods = cluster.get("pods", namespace=namespace)["items"]
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods} == {10001}
    for job in {pod["metadata"]["labels"][JOB_NAME] for pod in pods}:
        assert "published" in kubectl("logs", f"job/{job}")
    assert "Succeeded" in kubectl("describe", example.address)
    kubectl("delete", example.address, "--timeout=60s")
    kubectl("wait", "pods", "--all", "--for=delete", "--timeout=60s")
