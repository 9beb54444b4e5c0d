"""Everything that people get to see of a namespace's runs, to look for secrets in it."""

import json
from collections.abc import Iterable, Mapping

from minio import Minio

from tools.cluster.control_plane import Cluster
from tools.installation import BUCKET, DEPLOYMENT, SYSTEM

_KINDS = ("selfrewardruns", "reftruns", "jobs", "pods", "events")


def on_the_api(cluster: Cluster, namespace: str) -> dict[str, bytes]:
    """Returns objects, their statuses and Events, and all logs, by what they are."""
    shown = {
        kind: cluster.kubectl("-n", namespace, "get", kind, "-o", "yaml").encode()
        for kind in _KINDS
    }
    for pod in cluster.get("pods", namespace=namespace)["items"]:
        name = pod["metadata"]["name"]
        log = cluster.kubectl("-n", namespace, "logs", name, check=False)
        shown[f"log of {name}"] = log.encode()
    operator = cluster.kubectl("-n", SYSTEM, "logs", f"deployment/{DEPLOYMENT}")
    return {**shown, "log of the operator": operator.encode()}


def in_the_store(minio: Minio, namespace: str) -> dict[str, bytes]:
    """Returns every artifact, checkpoint, record and report of a namespace, by its key."""
    shown = {}
    for item in minio.list_objects(BUCKET, prefix=f"{namespace}/", recursive=True):
        answer = minio.get_object(BUCKET, str(item.object_name))
        try:
            shown[str(item.object_name)] = answer.read()
        finally:
            answer.close()
            answer.release_conn()
    return shown


def leaks(shown: Mapping[str, bytes], secrets: Iterable[str]) -> set[str]:
    """Returns where a secret is to be seen, as it is or as JSON has it."""
    needles = {needle.encode() for s in secrets for needle in (s, json.dumps(s)[1:-1])}
    assert needles
    assert all(len(needle) >= 8 for needle in needles)
    return {where for where, data in shown.items() if any(needle in data for needle in needles)}
