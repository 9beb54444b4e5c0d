"""kopf's part: it watches the API server and hands every event to the controller.

This is the only module that imports kopf. No index, timer or daemon of kopf is used: its index
takes quadratic time to start and keeps objects whose deletion was missed, and its timers and
daemons write finalizers and annotations on users' objects.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import aiohttp
import kopf
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from kubernetes.aio.client import ApiClient

from autodidact_operator.cluster import labels
from autodidact_operator.cluster.kube import PAGE_SIZE, authorization
from autodidact_operator.cluster.resources import JOBS, PODS, Body, Resource
from autodidact_operator.cluster.watches import WatchHealth

Observe = Callable[[Resource, str | None, Body], None]
"""Takes in the kind of object, the type of event and the object."""

_CHILDREN = frozenset({JOBS, PODS})
_IDLE_S = 1.0
_EXIT_S = 0.5
_KILL_S = 20.0


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no object: kopf would otherwise make a deep copy of each for every event."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return


def registry(resources: Iterable[Resource], observe: Observe) -> kopf.OperatorRegistry:
    """Returns kopf's handlers: one for each kind of object, which passes its events on."""
    handlers = kopf.OperatorRegistry()
    for resource in resources:
        _watch(handlers, resource, observe)
    return handlers


def _watch(handlers: kopf.OperatorRegistry, resource: Resource, observe: Observe) -> None:
    @kopf.on.event(
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        id=resource.plural,
        registry=handlers,
    )
    async def handle(event: Any, **_: Any) -> None:
        observe(resource, event["type"], event["object"])


def configure() -> kopf.OperatorSettings:
    """Returns kopf's settings: it watches only what is needed and changes no object."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # Namespaces and definitions need no watch of their own.
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.watching.chunk_size = PAGE_SIZE
    settings.queueing.idle_timeout = _IDLE_S
    settings.queueing.exit_timeout = _EXIT_S
    settings.process.ultimate_exiting_timeout = _KILL_S
    for resource in _CHILDREN:
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = (
            labels.RUN
        )
    return settings


def session(client: ApiClient, watches: WatchHealth) -> aiohttp.ClientSession:
    """Returns a session with the client's credentials, whose watches are observed."""

    async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers.update(await authorization(client))
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=client.rest_client.ssl_context),
        headers={"User-Agent": client.user_agent},
        middlewares=(watches.middleware, authorize),
    )


class Watcher:
    """kopf in this process's event loop.

    Args:
        client: Whose credentials to use.
        watches: Learns that the watches are alive.
        resources: What to watch.
        namespaces: Where; empty for everywhere.
        observe: Takes in the events.
    """

    def __init__(
        self,
        *,
        client: ApiClient,
        watches: WatchHealth,
        resources: Iterable[Resource],
        namespaces: Sequence[str],
        observe: Observe,
    ) -> None:
        self._registry = registry(resources, observe)
        self._namespaces = tuple(namespaces)
        self._stop = asyncio.Event()

        @kopf.on.login(id="client", registry=self._registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(
                server=client.configuration.host, aiohttp_session=session(client, watches)
            )

    async def start(self) -> asyncio.Task[None]:
        """Start to watch; returns the task, which ends with `stop` or with what went wrong.

        It takes over SIGTERM and SIGINT: install handlers of your own afterwards.
        """
        existing = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=configure(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        return asyncio.create_task(kopf.run_tasks(tasks, ignored=existing), name="kopf")

    def stop(self) -> None:
        """Make the task end soon."""
        self._stop.set()
