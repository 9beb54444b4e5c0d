"""Plain JSON calls to a Kubernetes API server: what the nodes and the tests need of a client.

No typed models: they cost several times the call itself.
"""

import asyncio
import base64
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
CALL_TIMEOUT_S = 30.0
_WATCH_S = 300
_RETRY_DELAY_S = 0.3
# A watch event carries a whole object; etcd's limit for one is 1.5 MiB.
_LONGEST_LINE = 8 * 2**20

_log = logging.getLogger(__name__)

JsonObject = dict[str, Any]


class ApiError(Exception):
    """The API server refused a call.

    Attributes:
        status: The HTTP status, 0 if the server could not be reached.
        reason: The machine-readable reason, such as `NotFound`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Listed:
    """The whole of what is watched, at the beginning and whenever the watch had to start over."""

    items: list[JsonObject]


@dataclass(frozen=True)
class Changed:
    """One object of what is watched: ADDED, MODIFIED or DELETED."""

    kind: str
    item: JsonObject


class Api:
    """A connection to an API server; use it with `async with`.

    Args:
        server: The server's URL.
        tls: The TLS context, with the client certificate if that is how to authenticate.
        token: A bearer token, if that is how to authenticate.
        user_agent: What the audit log shows.
    """

    def __init__(
        self, server: str, tls: ssl.SSLContext, *, token: str = "", user_agent: str = "cluster"
    ) -> None:
        self.server = server
        self._tls = tls
        self._headers = {"User-Agent": user_agent}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def from_kubeconfig(cls, path: Path, user_agent: str = "cluster") -> Self:
        """Return a client for the current context of a kubeconfig."""
        content = yaml.safe_load(path.read_text())
        context = _named(content["contexts"], content["current-context"])["context"]
        cluster = _named(content["clusters"], context["cluster"])["cluster"]
        user = _named(content["users"], context["user"])["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            _load_client_certificate(tls, user)
        token = user.get("token", "")
        if "tokenFile" in user:
            token = Path(user["tokenFile"]).read_text()
        return cls(cluster["server"], tls, token=token, user_agent=user_agent)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self.server,
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=64),
            read_bufsize=_LONGEST_LINE,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str, **parameters: str) -> JsonObject:
        """Return the object or list at a path such as `/api/v1/namespaces/x/pods`."""
        return await self.call("GET", path, parameters=parameters)

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        """Create an object in a collection and return it as stored."""
        return await self.call("POST", path, body=body)

    async def patch(
        self, path: str, body: JsonObject, content_type: str = MERGE_PATCH
    ) -> JsonObject:
        """Patch an object and return it as stored."""
        return await self.call("PATCH", path, body=body, content_type=content_type)

    async def delete(self, path: str, **options: Any) -> JsonObject:
        """Delete an object, with delete options such as `gracePeriodSeconds=0`."""
        return await self.call("DELETE", path, body=options)

    async def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod, as a drain does; it gets the condition DisruptionTarget."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        await self.create(path, eviction(pod))

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        parameters: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """Make one call and return the answer.

        Raises:
            ApiError: If the server refuses it or cannot be reached.
        """
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._session.request(
                method,
                path,
                data=data,
                params=parameters or None,
                headers={"Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {error!r}") from error
        if answer.status >= 400:
            raise _refusal(answer.status, text)
        content: JsonObject = json.loads(text)
        return content

    async def watch(self, path: str, **parameters: str) -> AsyncIterator[Listed | Changed]:
        """Yield a collection's content and then its changes, for ever.

        Broken connections are taken up again; when that is impossible `Listed` comes again.
        """
        version = ""
        while True:
            try:
                if not version:
                    listed = await self.get(path, **parameters)
                    version = listed["metadata"]["resourceVersion"]
                    yield Listed(listed.get("items") or [])
                async for change in self._changes(path, version, parameters):
                    version = change.item["metadata"]["resourceVersion"]
                    if change.kind != "BOOKMARK":
                        yield change
            except ApiError as error:
                _log.info("watch of %s starts over: %s", path, error)
                if error.status != 0:
                    version = ""
                await asyncio.sleep(_RETRY_DELAY_S)

    async def _changes(
        self, path: str, version: str, parameters: Mapping[str, str]
    ) -> AsyncIterator[Changed]:
        watching = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_S),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_S + 30)
        try:
            async with self._session.get(
                path, params={**parameters, **watching}, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.text())
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(
                            status.get("code", 500), status.get("reason", ""), str(status)
                        )
                    yield Changed(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"watch {path}: {error!r}") from error


def eviction(pod: str) -> JsonObject:
    """Return what is posted to a pod's `eviction` subresource."""
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}


def _named(items: list[JsonObject], name: str) -> JsonObject:
    return next(item for item in items if item["name"] == name)


def _load_client_certificate(tls: ssl.SSLContext, user: JsonObject) -> None:
    # ssl reads client certificates from files only.
    with tempfile.NamedTemporaryFile() as file:
        for key in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[key]))
        file.flush()
        tls.load_cert_chain(file.name)


def _refusal(status: int, text: str) -> ApiError:
    try:
        body = json.loads(text)
    except ValueError:
        return ApiError(status, "", text)
    return ApiError(status, body.get("reason", ""), body.get("message", text))
