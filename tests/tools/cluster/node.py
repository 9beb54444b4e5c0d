"""The process node: runs the pods bound to it as host processes.

It registers a Node, keeps its Lease and acts for its pods as a kubelet does: phases, conditions,
container states, exit codes, termination messages, restarts with back-off, SIGTERM with grace,
activeDeadlineSeconds, ConfigMaps, Secrets and projected tokens with refresh, `kubectl logs`.

What it does differently, because a process of the host cannot have mounts without root:

- A mountPath is a directory of the node, and where it occurs as a whole path, or at the beginning
  of one, in a container's env values, command and args, it is rewritten to that directory.
  terminationMessagePath is treated alike, so a program must be told its path, by a variable or an
  argument, and cannot have it built in. Contents of files are not rewritten.
- A program that looks for its service account at the fixed path does not find it; KUBECONFIG names
  a kubeconfig with the same token instead.
- Names of Services are rewritten in the same places, see `service_names`.
- Images are ignored. A container runs its command, or the `entrypoints` setting's for its image,
  with the node's own Python first on PATH. Of the node's environment it inherits nothing.

What it does not emulate at all: network namespaces (every pod is on the host's loopback interface, two
that listen on one port collide), cgroups and resource limits, users and security contexts, read-only
root file systems, liveness and startup probes, lifecycle hooks, sidecars, ephemeral containers,
exec and port-forward.

Run it with `python -m tools.cluster node --kubeconfig FILE --directory DIR [--settings JSON]`.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

from tools.cluster.api import Api, ApiError, JsonObject, Listed
from tools.cluster.log_server import Credentials, LogServer
from tools.cluster.node_settings import NodeSettings
from tools.cluster.outcomes import timestamp
from tools.cluster.pod import Host, PodRunner, has_ended
from tools.cluster.registration import Registration, default_capacity
from tools.cluster.service_names import ServiceNames

_log = logging.getLogger(__name__)


class ProcessNode:
    """One process node; `run` is its life.

    Args:
        api: A client with the node's credentials, or stronger ones.
        settings: See `NodeSettings`.
        directory: Where pods have their files.
        authority: File of the certificate that signs the API server's.
        credentials: For `kubectl logs`; without them the node serves no logs.
    """

    def __init__(
        self,
        api: Api,
        settings: NodeSettings,
        directory: Path,
        *,
        authority: Path,
        credentials: Credentials | None = None,
    ) -> None:
        self._api = api
        self._settings = settings
        self._host = Host(
            api=api,
            settings=settings,
            directory=directory,
            authority=authority,
            report=self._report,
            names=ServiceNames(api=api, pods=self._present),
        )
        self._pods: dict[str, PodRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._addresses = itertools.count(1)
        self._logs = LogServer(self.find, credentials) if credentials else None

    async def run(self) -> None:
        """Register the node and run its pods until cancelled; then kill them."""
        if self._logs:
            await self._logs.start()
        try:
            registration = self._registration()
            await registration.publish(self._api)
            async with asyncio.TaskGroup() as group:
                group.create_task(registration.keep(self._api, self._settings.heartbeat_s))
                group.create_task(self._follow_pods())
        finally:
            await self._end()

    def find(self, namespace: str, name: str) -> PodRunner | None:
        """Return the newest pod of this name that the node has."""
        for pod in reversed(self._pods.values()):
            metadata = pod.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return pod
        return None

    def _present(self) -> Iterator[JsonObject]:
        return (runner.pod for runner in self._pods.values())

    def _registration(self) -> Registration:
        gpus = {"nvidia.com/gpu": str(self._settings.gpus)} if self._settings.gpus else {}
        return Registration(
            name=self._settings.name,
            capacity={**default_capacity(), **gpus, **self._settings.capacity},
            labels=self._settings.labels,
            log_port=self._logs.port if self._logs else 0,
        )

    async def _follow_pods(self) -> None:
        selector = f"spec.nodeName={self._settings.name}"
        async for event in self._api.watch("/api/v1/pods", fieldSelector=selector):
            if isinstance(event, Listed):
                present = {pod["metadata"]["uid"] for pod in event.items}
                for uid in self._pods.keys() - present:
                    self._pods[uid].disappear()
                for pod in event.items:
                    self._see(pod)
            elif event.kind == "DELETED":
                runner = self._pods.get(event.item["metadata"]["uid"])
                if runner is not None:
                    runner.disappear()
            else:
                self._see(event.item)

    def _see(self, pod: JsonObject) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._pods:
            # What is left to do for a pod that ended is its deletion, unless that has been
            # done (0 seconds of grace) and only a finalizer keeps the object.
            if has_ended(pod) and not pod["metadata"].get("deletionGracePeriodSeconds"):
                return
            self._start(uid, pod)
        self._pods[uid].update(pod)

    def _start(self, uid: str, pod: JsonObject) -> None:
        runner = self._pods[uid] = PodRunner(self._host, pod, self._address())
        task = self._tasks[uid] = asyncio.create_task(runner.run())
        task.add_done_callback(lambda done: self._forget(uid, done))

    def _address(self) -> str:
        if not self._settings.unique_pod_ips:
            return "127.0.0.1"
        number = next(self._addresses)
        return f"127.1.{number // 250 % 250}.{number % 250 + 1}"

    def _forget(self, uid: str, task: asyncio.Task[None]) -> None:
        runner = self._pods.pop(uid)
        self._tasks.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            name = runner.pod["metadata"]["name"]
            _log.error("pod %s: an error of the node", name, exc_info=task.exception())

    async def _report(self, pod: JsonObject, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        now = timestamp()
        event = {
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(6)}"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "kubelet", "host": self._settings.name},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._api.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        except ApiError as error:
            _log.warning("event %s of pod %s: %s", reason, metadata["name"], error)

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._logs:
            await self._logs.stop()
