"""What a pod takes from other objects: ConfigMaps, Secrets and tokens of its service account."""

import base64
import time
from dataclasses import dataclass

from tools.cluster.api import Api, ApiError, JsonObject

_DEFAULT_TOKEN_S = 3600
# The share of a token's lifetime after which the kubelet asks for another one.
_REFRESH_AT = 0.8


class NotReadyError(Exception):
    """Something the pod needs is not there yet; trying again later helps.

    Attributes:
        reason: As the kubelet names it in the container's waiting state.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Token:
    text: str
    refresh_at: float


class PodInputs:
    """Reads what one pod needs, with its node's credentials."""

    def __init__(self, api: Api, pod: JsonObject) -> None:
        self._api = api
        self._metadata = pod["metadata"]
        self._account = pod["spec"].get("serviceAccountName") or "default"
        self._tokens: dict[str, _Token] = {}

    async def config_map(self, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """Return a ConfigMap's data; an optional one that does not exist is empty.

        Raises:
            NotReadyError: If it does not exist.
        """
        found = await self._read("configmaps", name, optional)
        data = {key: text.encode() for key, text in (found.get("data") or {}).items()}
        return data | _decoded(found.get("binaryData"))

    async def secret(self, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """Return a Secret's data, like `config_map`."""
        return _decoded((await self._read("secrets", name, optional)).get("data"))

    async def token(self, audience: str, lifetime_s: int | None) -> bytes:
        """Return a token of the pod's service account, a new one when the last gets old."""
        known = self._tokens.get(audience)
        if known is None or time.time() > known.refresh_at:
            known = self._tokens[audience] = await self._request_token(audience, lifetime_s)
        return known.text.encode()

    async def _request_token(self, audience: str, lifetime_s: int | None) -> _Token:
        namespace, name = self._metadata["namespace"], self._metadata["name"]
        lifetime_s = lifetime_s or _DEFAULT_TOKEN_S
        spec: JsonObject = {
            "expirationSeconds": lifetime_s,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": name,
                "uid": self._metadata["uid"],
            },
        }
        if audience:
            spec["audiences"] = [audience]
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{self._account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = await self._api.create(path, body)
        except ApiError as error:
            raise NotReadyError("FailedMount", f"token of {self._account}: {error}") from error
        return _Token(answer["status"]["token"], time.time() + _REFRESH_AT * lifetime_s)

    async def _read(self, resource: str, name: str, optional: bool) -> JsonObject:
        path = f"/api/v1/namespaces/{self._metadata['namespace']}/{resource}/{name}"
        try:
            return await self._api.get(path)
        except ApiError as error:
            if error.status == 404 and optional:
                return {}
            # 403 comes when the node authorizer has not seen yet that the pod is on this node.
            why = "not found" if error.status == 404 else str(error)
            message = f'{resource.removesuffix("s")} "{name}" {why}'
            raise NotReadyError("FailedMount", message) from error


def _decoded(data: dict[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in (data or {}).items()}
