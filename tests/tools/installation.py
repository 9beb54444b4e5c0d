"""The operator on the development cluster: the real chart by Helm, the store, a place for runs."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from minio import Minio

from tools.cluster.control_plane import Cluster
from tools.cluster.node_settings import NodeSettings
from tools.cluster.processes import free_ports
from tools.cluster.waiting import eventually
from tools.paths import CHART

BUCKET = "autodidact"
SECRET = "autodidact-store"  # noqa: S105 - the Secret's name
SYSTEM = "autodidact-system"
RELEASE = "autodidact"
DEPLOYMENT = "autodidact-operator"

# A worker of a toy is fastest on one thread, and threads that spin make two of them slow.
NODE = NodeSettings(environment={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})


@dataclass(kw_only=True)
class Installation:
    """An operator that was installed by Helm, and short ways to use it as a person would.

    Attributes:
        port: Where the operator listens, on the loopback address that pods of the process node
            share with this machine.
        values: Further values of the chart.
        chart: Folder of the chart.
    """

    cluster: Cluster
    port: int = field(default_factory=lambda: free_ports(1)[0])
    values: dict[str, Any] = field(default_factory=dict)
    chart: Path = CHART

    def install(self) -> Self:
        """Installs the chart; returns when the operator is ready."""
        self.make_bucket()
        self.cluster.create_namespace(SYSTEM)
        self.give_store(SYSTEM)
        self.helm()
        self.wait_ready()
        return self

    def helm(self) -> None:
        """Installs or upgrades the release."""
        store = self.cluster.minio
        values = {
            "replicas": 1,
            "containerPort": self.port,
            "service": {"port": self.port},
            "progress": {"url": f"http://127.0.0.1:{self.port}/v1/progress"},
            **self.values,
            "store": {
                "bucket": BUCKET,
                "endpoint": f"http://{store.endpoint}",
                **self.values.get("store", {}),
            },
        }
        arguments = ("upgrade", "--install", RELEASE, str(self.chart), "--namespace", SYSTEM)
        self.cluster.helm(*arguments, "--values", "-", input_text=json.dumps(values))

    def wait_ready(self) -> None:
        """Returns when the operator is ready."""
        wait = ("wait", "--for=condition=Available", f"deployment/{DEPLOYMENT}")
        self.cluster.kubectl("-n", SYSTEM, *wait, "--timeout=60s")

    def make_bucket(self) -> None:
        """Makes the bucket, unless it is there."""
        if not self.minio().bucket_exists(BUCKET):
            self.minio().make_bucket(BUCKET)

    def minio(self) -> Minio:
        """Returns a client of the store with all rights."""
        store = self.cluster.minio
        return Minio(
            store.endpoint, access_key=store.access_key, secret_key=store.secret_key, secure=False
        )

    def give_store(self, namespace: str, secret_key: str = "") -> None:
        """Puts the store's credentials into a namespace, or its name with another key."""
        store = self.cluster.minio
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {
                "accessKey": store.access_key,
                "secretKey": secret_key or store.secret_key,
            },
        }
        self.cluster.apply(secret)

    def store_environment(self) -> dict[str, str]:
        """Returns what a program needs to reach the store."""
        store = self.cluster.minio
        return {
            "AWS_ENDPOINT_URL": f"http://{store.endpoint}",
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
        }

    def run(self, namespace: str, name: str, kind: str = "srr") -> dict[str, Any]:
        """Returns a run object."""
        return self.cluster.get(kind, name, namespace)

    def status(self, namespace: str, name: str, kind: str = "srr") -> dict[str, Any]:
        """Returns a run's status, empty before the operator's first visit."""
        found: dict[str, Any] = self.run(namespace, name, kind).get("status", {})
        return found

    def until_ended(
        self, namespace: str, name: str, kind: str = "srr", timeout_s: float = 600
    ) -> dict[str, Any]:
        """Returns a run's status once it Succeeded or Failed."""

        def ended() -> dict[str, Any] | None:
            status = self.status(namespace, name, kind)
            return status if status.get("phase") in ("Succeeded", "Failed") else None

        found = eventually(ended, timeout_s)
        assert found is not None
        return found


def previous_chart(folder: Path) -> Path:
    """Returns a chart like ours as it may have been before: of an older version, without a field.

    Its definition of SelfRewardRuns does not know ``ttlSecondsAfterFinished`` yet.
    """
    shutil.copytree(CHART, folder)
    about = folder / "Chart.yaml"
    about.write_text(yaml.safe_dump({**yaml.safe_load(about.read_text()), "version": "0.0.1"}))
    file = folder / "files" / "crds" / "selfrewardruns.yaml"
    definition = yaml.safe_load(file.read_text())
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["ttlSecondsAfterFinished"]
    file.write_text(yaml.safe_dump(definition))
    return folder
