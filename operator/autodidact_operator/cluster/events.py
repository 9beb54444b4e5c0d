"""Posts Kubernetes Events about runs, in the background.

The same Event is posted at most once in ten minutes. Events that wait to be posted are joined into
one when they are about the same run and have the same reason.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from autodidact_operator.cluster.kube import Kube
from autodidact_operator.cluster.resources import EVENTS, Body
from autodidact_operator.errors import OperatorError
from autodidact_operator.telemetry import Telemetry

REPEAT_AFTER_S = 600.0
REMEMBERED = 4096
WAITING = 1000
MAX_MESSAGE = 1024
"""The API server refuses longer messages."""

_COMPONENT = "autodidact"
log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]


class Recorder:
    """Posts Events without making the caller wait. An Event that cannot be posted is dropped.

    Args:
        kube: Where to post.
        telemetry: Counts what was dropped.
        instance: Name of the operator's pod.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        kube: Kube,
        telemetry: Telemetry,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._telemetry = telemetry
        self._instance = instance
        self._clock = clock
        self._posted: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._waiting: asyncio.Queue[Body] = asyncio.Queue(WAITING)
        self._latest: dict[
            tuple[str, str, str], Body
        ] = {}  # The newest that waits, by what it is about.

    def record(self, about: Body, kind: EventType, reason: str, message: str) -> bool:
        """Have an Event posted; returns False if it is a repetition or too many Events wait."""
        text = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
        if self._is_repetition((about["metadata"]["uid"], reason, text)):
            return False
        event = manifest(about, kind, reason, text, self._instance)
        if self._joins(event):
            return True
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._telemetry.events_dropped.labels("queue full").inc()
            return False
        self._latest[_subject(event)] = event
        return True

    async def run(self) -> None:
        """Post the recorded Events, for ever."""
        while True:
            await self.post_next()

    async def post_next(self) -> None:
        """Post the oldest Event that waits, once there is one."""
        event = await self._waiting.get()
        if self._latest.get(_subject(event)) is event:
            del self._latest[_subject(event)]
        try:
            await self._kube.create(EVENTS, event["metadata"]["namespace"], event)
        except OperatorError as error:
            # Nothing depends on Events: the run's status says the same.
            self._telemetry.events_dropped.labels(type(error).__name__).inc()
            log.warning("event not posted reason=%s error=%s", event["reason"], error)

    def _joins(self, event: Body) -> bool:
        """Adds an Event's message to one that still waits; returns False if there is none with room."""
        waiting = self._latest.get(_subject(event))
        if waiting is None:
            return False
        text = f"{waiting['message']}; {event['message']}"
        if len(text) > MAX_MESSAGE:
            return False
        waiting["message"] = text
        return True

    def _is_repetition(self, identity: tuple[str, str, str]) -> bool:
        now = self._clock()
        while self._posted and next(iter(self._posted.values())) <= now - REPEAT_AFTER_S:
            self._posted.popitem(last=False)
        if identity in self._posted:
            return True
        self._posted[identity] = now
        if len(self._posted) > REMEMBERED:
            self._posted.popitem(last=False)
        return False


def _subject(event: Body) -> tuple[str, str, str]:
    return event["involvedObject"]["uid"], event["type"], event["reason"]


def manifest(about: Body, kind: EventType, reason: str, message: str, instance: str) -> Body:
    """Returns an Event about an object.

    It has the old and the new fields of core/v1, so that every version of `kubectl describe` and
    `kubectl get events` shows its age.
    """
    metadata = about["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": _COMPONENT},
        "reportingComponent": f"autodidact.dev/{_COMPONENT}",
        "reportingInstance": instance,
    }
