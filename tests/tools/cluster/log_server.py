"""The kubelet's HTTPS endpoint, as far as `kubectl logs` needs it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiohttp import web

_POLL_S = 0.1
_BLOCK = 65536


class LogSource(Protocol):
    """A pod whose containers write to files."""

    def log_file(self, container: str, *, previous: bool = False) -> Path | None:
        """Return the log of a container's present or previous run, if there is one."""

    def runs(self, container: str) -> bool:
        """Return whether a container has a running process."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Files of the endpoint's certificate and of the authority its clients must be signed by."""

    certificate: Path
    key: Path
    client_authority: Path


class LogServer:
    """Serves `/containerLogs/NAMESPACE/POD/CONTAINER` on a free loopback port.

    Args:
        find: Returns a pod by namespace and name, if the node has it.
        credentials: See `Credentials`.
    """

    def __init__(
        self, find: Callable[[str, str], LogSource | None], credentials: Credentials
    ) -> None:
        self._find = find
        self._credentials = credentials
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` is known afterwards."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls())
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def _tls(self) -> ssl.SSLContext:
        files = self._credentials
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(files.client_authority)
        )
        context.load_cert_chain(files.certificate, files.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        place, query = request.match_info, request.query
        unknown = {"timestamps", "sinceTime", "sinceSeconds"} & query.keys()
        if unknown:
            text = f"the process node keeps no times of log lines: {', '.join(sorted(unknown))}"
            raise web.HTTPBadRequest(text=text)
        pod = self._find(place["namespace"], place["pod"])
        container = place["container"]
        previous = query.get("previous") == "true"
        path = pod.log_file(container, previous=previous) if pod else None
        if pod is None or path is None:
            raise web.HTTPNotFound(text=f"no log of {place['pod']}/{container}")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        follow = query.get("follow") == "true"
        lines = int(query["tailLines"]) if "tailLines" in query else None
        left = int(query["limitBytes"]) if "limitBytes" in query else None
        async for block in _read(path, lines, lambda: follow and pod.runs(container)):
            await response.write(block[:left])
            left = None if left is None else max(0, left - len(block))
        return response


async def _read(
    path: Path, tail_lines: int | None, more: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield a file's content, or its last lines, and what is added while `more` holds."""
    with path.open("rb") as file:
        if tail_lines is not None:
            content = file.read().splitlines(keepends=True)
            yield b"".join(content[-tail_lines:] if tail_lines else [])
        while True:
            # Asked first: what a process writes before its end is read after it.
            growing = more()
            while block := file.read(_BLOCK):
                yield block
            if not growing:
                return
            await asyncio.sleep(_POLL_S)
