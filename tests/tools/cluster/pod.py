"""One pod on the process node, from its binding to its deletion."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp

from tools.cluster import faults
from tools.cluster.api import STRATEGIC_MERGE_PATCH, Api, ApiError, JsonObject
from tools.cluster.container import ContainerProcess, Launch
from tools.cluster.launching import Launcher
from tools.cluster.node_settings import NodeSettings
from tools.cluster.outcomes import Ending, Outcome, ending, timestamp
from tools.cluster.pod_inputs import NotReadyError, PodInputs
from tools.cluster.pod_status import ContainerState, PodState
from tools.cluster.service_names import ServiceNames
from tools.cluster.volumes import Volumes

_RETRY_S = 0.3
_PROBE_S = 0.3
_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Report = Callable[[JsonObject, str, str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the pods of one node share.

    Attributes:
        directory: The node's directory.
        authority: File of the certificate that signs the API server's.
        names: Where Services are.
        report: Publishes a warning Event for a pod: pod, reason, message.
    """

    api: Api
    settings: NodeSettings
    directory: Path
    authority: Path
    report: Report
    names: ServiceNames


class PodRunner:
    """Runs one pod and publishes its status.

    Args:
        host: The node.
        pod: The pod as first seen.
        pod_ip: Its address.
    """

    def __init__(self, host: Host, pod: JsonObject, pod_ip: str) -> None:
        self._host = host
        self.pod = pod
        self._directory = host.directory / "pods" / pod["metadata"]["uid"]
        self._state = PodState(
            pod_ip=pod_ip,
            host_ip="127.0.0.1",
            init_containers=[_fresh(c) for c in pod["spec"].get("initContainers") or []],
            containers=[_fresh(c) for c in pod["spec"]["containers"]],
        )
        shown = {**pod, "status": {"podIP": pod_ip, "hostIP": "127.0.0.1"}}
        inputs = PodInputs(host.api, pod)
        self._volumes = Volumes(shown, self._directory / "volumes", inputs)
        self._launcher = Launcher(
            settings=host.settings,
            server=host.api.server,
            authority=host.authority,
            pod=shown,
            directory=self._directory,
            volumes=self._volumes,
            inputs=inputs,
            names=host.names,
        )
        self._lost = any("running" in s.get("state", {}) for s in _container_statuses(pod))
        self._stopping = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = False
        self._running: dict[str, ContainerProcess] = {}
        self._published: JsonObject = {}
        self._publishing = asyncio.Lock()
        self._reported: set[tuple[str, str]] = set()

    def update(self, pod: JsonObject) -> None:
        """Take note of a newer version of the pod."""
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._deleted.set()

    def disappear(self) -> None:
        """Take note that the pod is no longer in the API: end it at once."""
        self._gone = True
        self._deleted.set()
        self.kill()

    def kill(self) -> None:
        """Kill whatever runs."""
        self._stopping.set()
        for process in self._running.values():
            process.kill()

    def log_file(self, container: str, *, previous: bool = False) -> Path | None:
        """Return the log of a container's present or previous run, if there is one."""
        for state in (*self._state.init_containers, *self._state.containers):
            if state.name == container:
                attempt = state.restarts - previous
                path = self._launcher.log_file(container, attempt)
                return path if path.exists() else None
        return None

    def runs(self, container: str) -> bool:
        """Return whether a container has a running process."""
        return container in self._running

    async def run(self) -> None:
        """Run the pod until it is deleted."""
        try:
            if not has_ended(self.pod):
                await self._run_to_its_end()
                self._state.finish()
                await self._publish()
            if not self._gone:
                await self._deleted.wait()
                await self._delete()
        finally:
            self.kill()
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _run_to_its_end(self) -> None:
        if self._deleted.is_set():
            # A node that starts meets pods which another one was about to end.
            self._account_for_lost()
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        living = asyncio.create_task(self._live())
        deletion = asyncio.create_task(self._deleted.wait())
        refreshing = asyncio.create_task(self._volumes.refresh(self._host.settings.refresh_s))
        try:
            deadline = self.pod["spec"].get("activeDeadlineSeconds")
            await asyncio.wait(
                {living, deletion}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED
            )
            if not living.done():
                await self._stop(living, exceeded=not deletion.done())
            await living
        finally:
            for task in (living, deletion, refreshing):
                task.cancel()

    async def _stop(self, living: asyncio.Task[None], *, exceeded: bool) -> None:
        if exceeded:
            self._state.reason = "DeadlineExceeded"
            self._state.message = "Pod was active on the node longer than the specified deadline"
        self._stopping.set()
        if not self._gone:
            for process in self._running.values():
                process.terminate()
            await asyncio.wait({living}, timeout=self._grace_s())
        self.kill()

    def _grace_s(self) -> float:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        grace = metadata.get("deletionGracePeriodSeconds")
        return float(spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace)

    async def _live(self) -> None:
        if self._lost:
            self._account_for_lost()
            if self._restart_policy() == "Never":
                return
            for state in self._state.containers:
                state.restarts += 1
        await self._until_ready(self._volumes.prepare, self._state.containers[0])
        spec = self.pod["spec"]
        for state, container in zip(
            self._state.init_containers, spec.get("initContainers") or [], strict=True
        ):
            await self._run_container(state, container, init=True)
            if self._stopping.is_set() or state.ending is None or state.ending.exit_code != 0:
                return
        pairs = zip(self._state.containers, spec["containers"], strict=True)
        async with asyncio.TaskGroup() as group:
            for state, container in pairs:
                group.create_task(self._run_container(state, container, init=False))

    def _account_for_lost(self) -> None:
        """End the containers an earlier node ran, as the kubelet does."""
        message = "The container could not be located when the pod was terminated"
        for state in self._state.containers:
            lost = ending(137, timestamp(), message=message, reason="ContainerStatusUnknown")
            state.end(lost)

    async def _until_ready(
        self, prepare: Callable[[], Awaitable[_T]], state: ContainerState
    ) -> _T | None:
        """Return what `prepare` returns as soon as it can; None if the pod is stopped first."""
        while not self._stopping.is_set():
            try:
                return await prepare()
            except NotReadyError as error:
                # A volume's reason is in the Event alone, as with the kubelet.
                mounting = error.reason == "FailedMount"
                reason = "ContainerCreating" if mounting else error.reason
                state.wait_for(reason, "" if mounting else str(error))
                await self._publish()
                await self._report_once(error.reason, str(error))
            await self._pause(_RETRY_S)
        return None

    async def _run_container(
        self, state: ContainerState, container: JsonObject, *, init: bool
    ) -> None:
        delay = self._host.settings.back_off_s
        while not self._stopping.is_set():
            launch = await self._until_ready(
                lambda: self._launcher.launch(container, state.restarts), state
            )
            if launch is None:
                return
            state.end(await self._run_once(state, container, launch))
            if self._stopping.is_set() or not self._starts_again(state, init=init):
                return
            state.wait_for("CrashLoopBackOff", f"back-off {delay:.1f}s restarting the container")
            await self._publish()
            await self._pause(delay)
            delay = min(2 * delay, self._host.settings.back_off_limit_s)
            state.restarts += 1

    def _starts_again(self, state: ContainerState, *, init: bool) -> bool:
        if state.ending is None or self._restart_policy() == "Never":
            return False
        if self._restart_policy() == "OnFailure" or init:
            return state.ending.exit_code != 0
        return True

    def _restart_policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    async def _run_once(
        self, state: ContainerState, container: JsonObject, launch: Launch
    ) -> Ending:
        outcome = faults.take(self._host.directory, self.pod)
        if outcome is not None:
            return await self._play(state, outcome)
        process = ContainerProcess(launch)
        await process.start()
        self._running[state.name] = process
        probing = asyncio.create_task(self._probe(state, container))
        try:
            await self._note_running(state, process.started_at, container)
            return await process.wait()
        finally:
            probing.cancel()
            del self._running[state.name]

    async def _play(self, state: ContainerState, outcome: Outcome) -> Ending:
        started_at = timestamp()
        await self._note_running(state, started_at, {})
        await self._pause(outcome.delay_s)
        if self._stopping.is_set():
            return ending(143, started_at)
        return ending(outcome.exit_code, started_at, message=outcome.message, reason=outcome.reason)

    async def _note_running(
        self, state: ContainerState, started_at: str, container: JsonObject
    ) -> None:
        if self._stopping.is_set():
            # The pod was stopped while the process started.
            process = self._running.get(state.name)
            if process is not None:
                process.terminate()
        state.run(started_at, ready="httpGet" not in (container.get("readinessProbe") or {}))
        if state in self._state.containers:
            self._state.phase = "Running"
        await self._publish()

    async def _probe(self, state: ContainerState, container: JsonObject) -> None:
        probe = container.get("readinessProbe") or {}
        if "httpGet" not in probe:
            return
        url = _probe_url(probe["httpGet"], container, self._state.pod_ip)
        timeout = aiohttp.ClientTimeout(total=probe.get("timeoutSeconds", 1))
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                ready = await _answers(session, url)
                if ready != state.ready and state.started_at:
                    state.ready = ready
                    await self._publish()
                await asyncio.sleep(probe.get("periodSeconds", 10) if ready else _PROBE_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _publish(self) -> None:
        async with self._publishing:
            status = self._state.as_status()
            if status == self._published or self._gone:
                return
            # The uid keeps the patch off a new pod of the same name.
            uid = self.pod["metadata"]["uid"]
            body = {"metadata": {"uid": uid}, "status": status}
            await self._insist(
                lambda: self._host.api.patch(f"{self._path()}/status", body, STRATEGIC_MERGE_PATCH)
            )
            self._published = status

    async def _delete(self) -> None:
        options = {
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self.pod["metadata"]["uid"]},
        }
        await self._insist(lambda: self._host.api.delete(self._path(), **options))

    async def _insist(self, call: Callable[[], Awaitable[JsonObject]]) -> None:
        """Make a call until it succeeds or the pod turns out to be gone."""
        while not self._gone:
            try:
                await call()
            except ApiError as error:
                if error.status == 404 or (error.status == 409 and await self._is_replaced()):
                    self._gone = True
                    return
                _log.warning("%s: %s", self._path(), error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _is_replaced(self) -> bool:
        """Return whether another pod has this one's name; a conflict can be just a busy object."""
        try:
            present = await self._host.api.get(self._path())
        except ApiError as error:
            return error.status == 404
        return bool(present["metadata"]["uid"] != self.pod["metadata"]["uid"])

    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    async def _report_once(self, reason: str, message: str) -> None:
        if (reason, message) not in self._reported:
            self._reported.add((reason, message))
            await self._host.report(self.pod, reason, message)


def has_ended(pod: JsonObject) -> bool:
    """Return whether a pod has come to its end, as the API shows it."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _fresh(container: JsonObject) -> ContainerState:
    return ContainerState(name=container["name"], image=container.get("image", ""))


def _container_statuses(pod: JsonObject) -> list[JsonObject]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _probe_url(get: JsonObject, container: JsonObject, pod_ip: str) -> str:
    port = get["port"]
    if isinstance(port, str):
        ports = container.get("ports") or []
        port = next(p["containerPort"] for p in ports if p.get("name") == port)
    scheme = get.get("scheme", "HTTP").lower()
    return f"{scheme}://{get.get('host') or pod_ip}:{port}{get.get('path', '/')}"


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, ssl=False) as answer:
            return 200 <= answer.status < 400
    except (aiohttp.ClientError, TimeoutError):
        return False
