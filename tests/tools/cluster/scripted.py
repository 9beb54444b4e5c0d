"""A node whose pods run no processes: a function decides how each of them ends.

Made for fault and scale tests: it needs two API calls per pod, or one.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from tools.cluster.api import STRATEGIC_MERGE_PATCH, Api, ApiError, JsonObject, Listed
from tools.cluster.outcomes import Outcome, ending, timestamp
from tools.cluster.pod_status import ContainerState, PodState
from tools.cluster.registration import Registration, default_capacity

_TERMINATED = 143
_READY_TIMEOUT_S = 30.0
_GPUS = "10000"
_log = logging.getLogger(__name__)

Play = Callable[[JsonObject], Outcome]


class ScriptedNode:
    """Plays the pods bound to it; use it with `async with`.

    Args:
        api: A client that may write nodes and pods' status, such as the administrator's.
        play: Called once per pod with the pod as first seen; returns what becomes of it.
        name: The Node's name.
        capacity: Further or other resources of the Node.
        labels: Further labels of the Node.
        report_running: Write the phase Running; without it a pod takes one call.
    """

    def __init__(
        self,
        api: Api,
        play: Play,
        *,
        name: str = "scripted-node",
        capacity: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        report_running: bool = True,
    ) -> None:
        self._api = api
        self._play = play
        self._name = name
        self._report_running = report_running
        self._registration = Registration(
            name=name,
            capacity={**default_capacity(), "nvidia.com/gpu": _GPUS, **(capacity or {})},
            labels=labels or {},
        )
        self._acts: dict[str, asyncio.Task[None]] = {}
        self._deleting: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._registration.publish(self._api)
        self._work = asyncio.gather(
            self._registration.keep(self._api, heartbeat_s=10.0), self._follow_pods()
        )
        await self._until_schedulable()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks: list[asyncio.Future[Any]] = [self._work, *self._acts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drop(self) -> None:
        """Stop playing and remove the Node, as a cloud does; its pods are then collected."""
        await self.__aexit__(None, None, None)
        await self._api.delete(f"/api/v1/nodes/{self._name}")

    async def _until_schedulable(self) -> None:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            # The taint goes away on the server; a watch for it would be more than it is worth.
            while (await self._api.get(f"/api/v1/nodes/{self._name}"))["spec"].get("taints"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _follow_pods(self) -> None:
        selector = f"spec.nodeName={self._name}"
        async for event in self._api.watch("/api/v1/pods", fieldSelector=selector):
            if isinstance(event, Listed):
                for pod in event.items:
                    self._see(pod)
            elif event.kind == "DELETED":
                self._end(event.item["metadata"]["uid"])
            else:
                self._see(event.item)

    def _see(self, pod: JsonObject) -> None:
        uid = pod["metadata"]["uid"]
        ended = pod["status"].get("phase") in ("Succeeded", "Failed")
        if "deletionTimestamp" in pod["metadata"]:
            if uid not in self._deleting:
                self._deleting.add(uid)
                self._end(uid)
                self._begin(f"{uid}/deletion", self._delete(pod, ended=ended))
        elif uid not in self._acts and not ended:
            self._begin(uid, self._act(pod))

    def _begin(self, key: str, act: Coroutine[Any, Any, None]) -> None:
        task = self._acts[key] = asyncio.create_task(act)
        task.add_done_callback(lambda done: self._finish(key, done))

    def _finish(self, key: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("pod %s", key, exc_info=task.exception())

    def _end(self, uid: str) -> None:
        act = self._acts.pop(uid, None)
        if act is not None:
            act.cancel()

    async def _act(self, pod: JsonObject) -> None:
        outcome = self._play(pod)
        state, started_at = _state(pod), timestamp()
        if self._report_running:
            for container in state.containers:
                container.run(started_at, ready=True)
            state.phase = "Running"
            await self._publish(pod, state)
        await asyncio.sleep(outcome.delay_s)
        if outcome.before is not None:
            await outcome.before()
        await self._publish_end(pod, state, outcome, started_at)

    async def _delete(self, pod: JsonObject, *, ended: bool) -> None:
        if not ended:
            stopped = Outcome(exit_code=_TERMINATED)
            await self._publish_end(pod, _state(pod), stopped, timestamp())
        options = {
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        try:
            await self._api.delete(_path(pod), **options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _publish_end(
        self, pod: JsonObject, state: PodState, outcome: Outcome, started_at: str
    ) -> None:
        for container in state.containers:
            container.end(
                ending(
                    outcome.exit_code, started_at, message=outcome.message, reason=outcome.reason
                )
            )
        state.finish()
        await self._publish(pod, state)

    async def _publish(self, pod: JsonObject, state: PodState) -> None:
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": state.as_status()}
        try:
            await self._api.patch(f"{_path(pod)}/status", body, STRATEGIC_MERGE_PATCH)
        except ApiError as error:
            # The pod may be gone, or another of its name may be there.
            if error.status not in (404, 409):
                raise


def _state(pod: JsonObject) -> PodState:
    return PodState(
        pod_ip="127.0.0.1",
        host_ip="127.0.0.1",
        init_containers=[],
        containers=[
            ContainerState(name=container["name"], image=container.get("image", ""))
            for container in pod["spec"]["containers"]
        ],
    )


def _path(pod: JsonObject) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
