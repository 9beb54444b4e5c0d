"""Runs as users have them on a GPU cluster: built images, restricted pods, the chart by Helm."""

from typing import Any

from cluster.control_plane import Cluster
from installation import EXAMPLES, Installation
from real_node.figures import phase

TOY = str(EXAMPLES / "selfreward-toy.yaml")


def test_toy_run_succeeds(cluster: Cluster, installation: Installation, namespace: str) -> None:
    """Kubectl apply, wait, logs, describe and delete work on the toy as they do on a Job."""

    def kubectl(*arguments: str) -> str:
        return cluster.kubectl("--namespace", namespace, *arguments)

    with phase("selfreward-toy from kubectl apply to Succeeded"):
        kubectl("apply", "--filename", TOY)
        kubectl("wait", "srr/toy", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
        kubectl("wait", "srr/toy", "--for=condition=Succeeded", "--timeout=2400s")
    status = installation.status(namespace, "toy")
    assert status["phase"] == "Succeeded"
    quality = {line["name"]: line["quality"] for line in status["history"] if "quality" in line}
    assert quality["M2"] > quality["M1"]
    pods = cluster.get("pods", namespace=namespace)["items"]
    assert pods
    assert {_user(pod) for pod in pods} == {10001}
    job = pods[0]["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    assert kubectl("logs", f"job/{job}")
    assert "Succeeded" in kubectl("describe", "srr/toy")
    kubectl("delete", "srr/toy", "--timeout=60s")
    kubectl("wait", "pods", "--all", "--for=delete", "--timeout=60s")


def _user(pod: dict[str, Any]) -> int:
    user: int = pod["spec"]["securityContext"]["runAsUser"]
    return user
