"""The chart on a real node: every pod restricted, every image our own, the chart's own MinIO."""

from tools.cluster.control_plane import Cluster
from tools.cluster.processes import ProcessError
from tools.installation import BUCKET, DEPLOYMENT, SYSTEM, Installation
from tools.node.images import NodeImages


def install(cluster: Cluster, images: NodeImages) -> Installation:
    """Installs the chart into a namespace that enforces `restricted`; the operator is ready then.

    Args:
        cluster: With a real node that has the images.
        images: Names of the images.
    """
    create_restricted(cluster, SYSTEM)
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


def _values(images: NodeImages) -> dict[str, object]:
    return {
        "image": {**_parts(images.operator), "pullPolicy": "Never"},
        "worker": {"image": _parts(images.worker)},
        # No Secret in namespaces with runs: Jobs are lent credentials, the shortest there are, and
        # every stage of some length meets their renewal.
        "store": {
            "bucket": BUCKET,
            "endpoint": "",
            "workerSecret": "",
            "sts": {"enabled": True, "durationSeconds": 900, "renewSeconds": 30},
        },
        "progress": {"enabled": True},
        "minio": {
            "enabled": True,
            "image": _parts(images.minio),
            "namespaces": [],
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
