"""Requests to the API server: all of the operator's, except kopf's watches.

Objects are plain dicts. Only the connection is the official client's, with its configuration, TLS
and token refresh: its typed models take three times the CPU time, and its dynamic client a hundred
megabytes. Every error that is raised is one of `errors`. Nothing is retried here: callers have a
queue with a back-off for that.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as client_config
from kubernetes.aio.client import ApiClient, Configuration

from autodidact_operator.cluster.resources import TOKEN_REVIEWS, Body, Resource
from autodidact_operator.errors import (
    AlreadyExistsError,
    ApiUnavailableError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
    NotFoundError,
    OperatorError,
    ThrottledError,
)

FIELD_MANAGER = "autodidact-operator"
PAGE_SIZE = 500
REQUEST_TIMEOUT_S = 30.0
_AUTHENTICATION = ["BearerToken"]
_APPLY_PATCH = "application/apply-patch+yaml"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_JSON_PATCH = "application/json-patch+json"
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_UNAUTHORIZED, _FORBIDDEN, _CONFLICT, _TOO_MANY = 401, 403, 409, 429
_ERRORS: Mapping[int, type[OperatorError]] = {
    400: InvalidObjectError,
    404: NotFoundError,
    409: ConflictError,
    410: ConflictError,  # A LIST that took too long; begin again.
    413: InvalidObjectError,
    415: InvalidObjectError,
    422: InvalidObjectError,
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whom a token belongs to, as the API server says.

    Attributes:
        username: For a pod, `system:serviceaccount:<namespace>:<name>`.
        pod_name: Name of the pod the token is bound to, or empty.
        pod_uid: Its UID, or empty.
    """

    username: str
    pod_name: str
    pod_uid: str

    @property
    def namespace(self) -> str:
        """The service account's namespace, or empty for anybody else."""
        parts = self.username.split(":")
        is_account = parts[:2] == ["system", "serviceaccount"] and len(parts) == 4
        return parts[2] if is_account else ""


async def connect(kubeconfig: str | None = None) -> ApiClient:
    """Returns a client for the cluster this process runs in, else for a kubeconfig's.

    Args:
        kubeconfig: Path of the file; `KUBECONFIG` or `~/.kube/config` by default.

    Raises:
        ConfigError: If there is neither.
    """
    configuration = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        # The client reads the token file again every minute, since the kubelet renews tokens.
        client_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except client_config.ConfigException:
        try:
            await client_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path, client_configuration=configuration
            )
        except (client_config.ConfigException, OSError) as error:
            raise ConfigError(f"no cluster: not in a pod, and KUBECONFIG: {error}") from error
    # With trust_env every request would look for a proxy in two threads; a proxy for the API
    # server is named in the kubeconfig.
    configuration.client_session_kwargs = {"trust_env": False}
    client = ApiClient(configuration)
    client.user_agent = FIELD_MANAGER
    return client


async def authorization(client: ApiClient) -> dict[str, str]:
    """Returns the headers that authenticate a request, with the current token."""
    headers: dict[str, str] = {}
    await client.update_params_for_auth(headers, [], _AUTHENTICATION, "", "GET", None)
    return headers


class Kube:
    """The verbs that the operator needs.

    Args:
        client: The connection; the caller closes it.
        observe: Called with verb, resource and HTTP status (0 without one) of every request.
    """

    def __init__(
        self,
        client: ApiClient,
        observe: Callable[[str, str, int], None] = lambda *_: None,
    ) -> None:
        self._client = client
        self._observe = observe

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Body], str]:
        """Returns all objects that match the selectors, and the resourceVersion of the LIST.

        Raises:
            OperatorError: As for every request; a LIST is whole or fails.
        """
        query = {"limit": str(PAGE_SIZE), "labelSelector": labels, "fieldSelector": fields}
        items: list[Body] = []
        while True:
            page = await self._request("GET", resource, resource.path(namespace), query=query)
            items += page.get("items") or []
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return items, page["metadata"].get("resourceVersion", "")

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Body:
        """Returns one object.

        Raises:
            NotFoundError: If there is no such object.
            OperatorError: As for every request.
        """
        return await self._request("GET", resource, resource.path(namespace, name))

    async def create(self, resource: Resource, namespace: str | None, body: Body) -> Body:
        """Create an object; returns it as stored.

        Raises:
            AlreadyExistsError: If there is one of this name.
            OperatorError: As for every request.
        """
        return await self._request("POST", resource, resource.path(namespace), body)

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Body
    ) -> Body:
        """Replace an object of the resourceVersion that the body names; returns the new one.

        Raises:
            ConflictError: If its resourceVersion is another by now.
            OperatorError: As for every request.
        """
        return await self._request("PUT", resource, resource.path(namespace, name), body)

    async def apply(self, resource: Resource, namespace: str, body: Body) -> Body:
        """Create an object or change it, so that it is what the body says (server-side apply).

        The answer is requested without the object's content, so that no Secret is read.

        Returns:
            The object's metadata.

        Raises:
            ConflictError: If another client has set one of these fields to another value.
            OperatorError: As for every request.
        """
        path = f"{resource.path(namespace, body['metadata']['name'])}?fieldManager={FIELD_MANAGER}"
        return await self._request(
            "PATCH", resource, path, body, content_type=_APPLY_PATCH, accept=_METADATA_ONLY
        )

    async def patch_status(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        status: Body,
        uid: str = "",
        resource_version: str = "",
    ) -> Body:
        """Make `status` exactly this; returns the object.

        This is a JSON Patch. A merge patch would keep fields that the new status lacks. A PUT needs
        a resourceVersion, so every edit of the spec would make the write fail. The patch tests the
        UID, so that a new object of the same name is left alone.

        Raises:
            NotFoundError: If there is no such object, or it has another UID.
            ConflictError: If a resourceVersion was given and is another by now.
            OperatorError: As for every request.
        """
        change: list[Body] = [{"op": "add", "path": "/status", "value": status}]
        if uid:
            change.insert(0, {"op": "test", "path": "/metadata/uid", "value": uid})
        if resource_version:
            # The API server compares a version that a patch sets, and answers 409. A failed test
            # would be answered with 422, like a malformed object.
            version = {"path": "/metadata/resourceVersion", "value": resource_version}
            change.append({"op": "replace", **version})
        path = resource.path(namespace, name, "status")
        try:
            return await self._request("PATCH", resource, path, change, content_type=_JSON_PATCH)
        except InvalidObjectError as error:
            # The answer does not say whether it was the test that failed.
            found, _ = await self.list(resource, namespace, fields=f"metadata.name={name}")
            if uid and all(current["metadata"]["uid"] != uid for current in found):
                raise NotFoundError(f"{resource.kind} {namespace}/{name} is another now") from error
            raise

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        uid: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> Body:
        """Delete an object; returns a `Status` if it is gone, or the object if it is going.

        Raises:
            NotFoundError: If there is none.
            ConflictError: If a UID was given and the object has another.
            OperatorError: As for every request.
        """
        options: Body = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        return await self._request("DELETE", resource, resource.path(namespace, name), options)

    async def token_review(self, token: str, audiences: Sequence[str]) -> Identity | None:
        """Returns whom a token belongs to, or None if it is not valid for all of these audiences.

        Raises:
            OperatorError: As for every request.
        """
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": list(audiences)},
        }
        answer = await self.create(TOKEN_REVIEWS, None, body)
        status = answer.get("status") or {}
        # An authenticator that does not know audiences names none; such a token is refused.
        if not status.get("authenticated") or not set(audiences) <= set(
            status.get("audiences", ())
        ):
            return None
        user = status.get("user") or {}
        extra = user.get("extra") or {}
        return Identity(
            username=user.get("username", ""),
            pod_name=_first(extra, "authentication.kubernetes.io/pod-name"),
            pod_uid=_first(extra, "authentication.kubernetes.io/pod-uid"),
        )

    async def _request(
        self,
        method: str,
        resource: Resource,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Body:
        """Send one request; returns the answer's body.

        Raises:
            OperatorError: The error of `errors` for this answer, or for the lack of one.
        """
        verb = "list" if query is not None else _VERBS[method]
        url = self._client.configuration.host + path
        if query:
            url += "?" + urlencode({name: value for name, value in query.items() if value})
        headers = {
            **self._client.default_headers,
            "Accept": accept,
            "Content-Type": content_type,
            **await authorization(self._client),
        }
        status = 0
        try:
            answer = await self._client.call_api(
                method, url, headers, body, _request_timeout=REQUEST_TIMEOUT_S
            )
            status = answer.status
            raw = await answer.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnavailableError(f"{verb} {path}: {error!r}") from error
        finally:
            self._observe(verb, resource.name, status)
        if 200 <= status < 300:
            return _decoded(raw, f"{verb} {path}")
        raise _error(status, raw, answer.headers, verb, resource, path)


def _decoded(raw: bytes, what: str) -> Body:
    try:
        decoded: Body = json.loads(raw)
    except ValueError as error:
        raise ApiUnavailableError(f"{what}: the answer is not JSON: {raw[:200]!r}") from error
    return decoded


def _first(extra: Mapping[str, Sequence[str]], name: str) -> str:
    values = extra.get(name) or ("",)
    return values[0]


def _error(
    status: int,
    raw: bytes,
    headers: Mapping[str, str],
    verb: str,
    resource: Resource,
    path: str,
) -> OperatorError:
    """Returns the error for an answer that is not a success."""
    details = _status_of(raw)
    message = (
        f"{verb} {path}: {status} {details.get('message') or raw[:200].decode(errors='replace')}"
    )
    if status in (_FORBIDDEN, _UNAUTHORIZED):
        return ForbiddenError(message, verb, resource.name)
    if status == _TOO_MANY:
        return ThrottledError(message, _retry_after(headers, details))
    if status == _CONFLICT and details.get("reason") == "AlreadyExists":
        return AlreadyExistsError(message)
    return _ERRORS.get(status, ApiUnavailableError)(message)


def _status_of(raw: bytes) -> Body:
    """Returns the `Status` object of an error's body, or an empty dict."""
    try:
        decoded = json.loads(raw)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _retry_after(headers: Mapping[str, str], details: Body) -> float:
    given = headers.get("Retry-After") or (details.get("details") or {}).get("retryAfterSeconds")
    try:
        return float(given) if given else 1.0
    except ValueError:
        return 1.0
