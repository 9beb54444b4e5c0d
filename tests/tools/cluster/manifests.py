"""Small manifests for tests of the cluster itself."""

from typing import Any

from tools.cluster.api import JsonObject


def pod(namespace: str, name: str, command: list[str], **spec: Any) -> JsonObject:
    """Return a pod with one container, `main`; `container` in `spec` adds to the container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": _pod_spec(command, spec),
    }


def job(namespace: str, name: str, command: list[str], **spec: Any) -> JsonObject:
    """Return a Job without retries, like `pod`; `job` in `spec` adds to the Job's own spec."""
    job_spec = spec.pop("job", {})
    labels = spec.pop("labels", {})
    template = {"metadata": {"labels": labels}, "spec": _pod_spec(command, spec)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template, **job_spec},
    }


def deployment(namespace: str, name: str, command: list[str], **spec: Any) -> JsonObject:
    """Return a Deployment of one replica, like `pod`."""
    labels = {"app": name}
    pod_spec = _pod_spec(command, {"restartPolicy": "Always", **spec})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec},
        },
    }


def _pod_spec(command: list[str], spec: dict[str, Any]) -> JsonObject:
    container = {"name": "main", "image": "none", "command": command, **spec.pop("container", {})}
    return {"restartPolicy": "Never", "containers": [container], **spec}
