"""Whether the watches are alive, learned from the bytes that kopf's connections receive.

An idle watch receives nothing but bookmarks, and kopf hides those from its handlers. kopf also
lists objects again when the API server refuses a watch as too old. Deletions may have been missed
then, so that these LISTs are noted too.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from autodidact_operator.cluster.resources import Resource

SILENCE_S = 180.0
"""Seconds after which a watch counts as dead.

Bookmarks come every minute, and kopf reconnects after 70 seconds without one.
"""


class WatchHealth:
    """When each watch last received something, and which kinds were listed again.

    Args:
        resources: The kinds that are watched.
        clock: Monotonic seconds.
    """

    def __init__(
        self, resources: Iterable[Resource], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plurals = {resource.plural: resource for resource in resources}
        self._clock = clock
        self._started = clock()
        self._seen: dict[str, float] = {}
        self._resource_of: dict[str, str] = {}
        self._relisted: set[Resource] = set()
        self.relisted = asyncio.Event()

    def saw(self, path: str) -> None:
        """Note that the watch of a path is alive."""
        resource = self._plurals.get(path.rsplit("/", 1)[-1])
        if resource is not None:
            self._seen[path] = self._clock()
            self._resource_of[path] = resource.name

    def listed(self, path: str) -> None:
        """Note that kopf listed a kind, at the start or because a watch broke off."""
        resource = self._plurals.get(path.rsplit("/", 1)[-1])
        if resource is not None:
            self._relisted.add(resource)
            self.relisted.set()

    def take_relisted(self) -> tuple[Resource, ...]:
        """Returns the kinds listed since the last call."""
        taken = tuple(self._relisted)
        self._relisted.clear()
        self.relisted.clear()
        return taken

    def ages(self) -> dict[str, float]:
        """Returns the seconds since each kind's quietest watch received something."""
        now = self._clock()
        ages = {resource.name: now - self._started for resource in self._plurals.values()}
        latest: dict[str, float] = {}
        for path, seen in self._seen.items():
            name = self._resource_of[path]
            latest[name] = max(latest.get(name, 0.0), now - seen)
        return ages | latest

    async def middleware(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        """An aiohttp client middleware that notes LISTs and everything a watch receives."""
        response = await handler(request)
        path, query = request.url.path, request.url.query
        if request.method != "GET" or response.status != 200:
            return response
        if "watch" in query:
            self.saw(path)
            response.content = cast("Any", _Observed(response.content, lambda: self.saw(path)))
        elif "continue" not in query:
            self.listed(path)
        return response


class _Observed:
    """A response's body that calls back for each chunk read; otherwise the body itself."""

    def __init__(self, content: Any, callback: Callable[[], None]) -> None:
        self._content = content
        self._callback = callback

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._content.iter_chunked(size):
            self._callback()
            yield chunk
