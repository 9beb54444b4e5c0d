"""A Node object and its Lease, as a kubelet keeps them."""

import asyncio
import datetime
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from tools.cluster.api import STRATEGIC_MERGE_PATCH, Api, ApiError, JsonObject
from tools.cluster.outcomes import timestamp

_log = logging.getLogger(__name__)
_LEASE_DURATION_S = 40
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the API is told of a node.

    Attributes:
        log_port: The port of the node's `log_server`, 0 if it has none.
    """

    name: str
    capacity: Mapping[str, str]
    labels: Mapping[str, str]
    log_port: int = 0

    async def publish(self, api: Api) -> None:
        """Create the Node, or bring an old one up to date, and its Lease."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": self._metadata()}
        try:
            await api.create("/api/v1/nodes", {**body, "status": self._status()})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        status = {"status": self._status()}
        await api.patch(f"/api/v1/nodes/{self.name}/status", status, STRATEGIC_MERGE_PATCH)
        await self._renew_lease(api)

    async def keep(self, api: Api, heartbeat_s: float) -> None:
        """Renew the Lease for ever."""
        while True:
            await asyncio.sleep(heartbeat_s)
            try:
                await self._renew_lease(api)
            except ApiError as error:
                _log.warning("lease of %s: %s", self.name, error)

    def _metadata(self) -> JsonObject:
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
            **self.labels,
        }
        return {"name": self.name, "labels": labels}

    def _status(self) -> JsonObject:
        now = timestamp()
        conditions = [
            {"type": kind, "status": status, "reason": "ProcessNode", "lastHeartbeatTime": now}
            for kind, status in (
                ("Ready", "True"),
                ("MemoryPressure", "False"),
                ("DiskPressure", "False"),
                ("PIDPressure", "False"),
            )
        ]
        return {
            "capacity": dict(self.capacity),
            "allocatable": dict(self.capacity),
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": self.name},
            ],
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.log_port}},
            "nodeInfo": _node_info(),
        }

    async def _renew_lease(self, api: Api) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": _LEASE_DURATION_S,
            "renewTime": now,
        }
        try:
            await api.patch(f"{_LEASES}/{self.name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            await api.create(_LEASES, {"metadata": {"name": self.name}, "spec": spec})


def default_capacity() -> dict[str, str]:
    """Return plenty of everything: the machine decides how fast pods are, not the scheduler."""
    return {
        "cpu": "256",
        "memory": "2Ti",
        "ephemeral-storage": "10Ti",
        "pods": "10000",
    }


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _node_info() -> JsonObject:
    return {
        "architecture": _architecture(),
        "bootID": "",
        "containerRuntimeVersion": "process://1",
        "kernelVersion": os.uname().release,
        "kubeProxyVersion": "",
        "kubeletVersion": "v1.37.2",
        "machineID": "",
        "operatingSystem": "linux",
        "osImage": "host processes",
        "systemUUID": "",
    }
