"""The chart on a real node: every pod restricted, every image our own, the chart's own MinIO."""

from cluster.control_plane import Cluster
from cluster.processes import ProcessError
from installation import BUCKET, DEPLOYMENT, SECRET, SYSTEM, Installation
from real_node.images import NodeImages

RUNS = "team-a"


def install(cluster: Cluster, images: NodeImages) -> Installation:
    """Installs the chart into namespaces that enforce `restricted`; the operator is ready then.

    Args:
        cluster: With a real node that has the images.
        images: Names of the images.
    """
    for namespace in (SYSTEM, RUNS):
        create_restricted(cluster, namespace)
    installed = Installation(cluster=cluster, port=8080, values=_values(images))
    installed.helm()
    try:
        installed.wait_ready()
    except ProcessError as error:
        logs = cluster.kubectl("-n", SYSTEM, "logs", f"deployment/{DEPLOYMENT}", check=False)
        raise ProcessError(f"{error}; the end of the operator's log:\n{logs[-3000:]}") from error
    return installed


def create_restricted(cluster: Cluster, namespace: str) -> None:
    """Creates a namespace that admits only pods of the Pod Security level `restricted`."""
    cluster.create_namespace(namespace)
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, label)


def give_store(cluster: Cluster, namespace: str) -> None:
    """Copies the store's credentials to another namespace with runs."""
    origin = cluster.get("secret", SECRET, SYSTEM)
    place = {"name": SECRET, "namespace": namespace}
    cluster.apply(
        {key: origin[key] for key in ("apiVersion", "kind", "data")} | {"metadata": place}
    )


def _values(images: NodeImages) -> dict[str, object]:
    return {
        "image": {**_parts(images.operator), "pullPolicy": "Never"},
        "worker": {"image": _parts(images.worker)},
        "store": {"bucket": BUCKET},
        "progress": {"enabled": True},
        "minio": {
            "enabled": True,
            "image": _parts(images.minio),
            "namespaces": [RUNS],
            "storage": {"size": ""},
        },
        # The node has two CPUs in all.
        "computeProfiles": {
            "default": {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
        },
    }


def _parts(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}
