"""Cluster DNS names, rewritten to where the node's pods really listen.

There is no cluster DNS and nothing routes a Service's address, but all pods are on the loopback
interface, so a name in a variable or an argument can be replaced when a container starts:

- `SERVICE.NAMESPACE.svc[.cluster.local][:PORT]` becomes 127.0.0.1 and the Service's target port; for
  a headless Service the port stays;
- `HOST.SERVICE.NAMESPACE.svc[.cluster.local]`, and `HOST.SERVICE` where SERVICE is the pod's own
  subdomain, become 127.0.0.1.

A name of a Service that does not exist stays as it is, and so do names in files.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tools.cluster.api import Api, ApiError, JsonObject

_NAME = re.compile(
    r"(?<![\w.-])(?P<scheme>https?://)?(?P<labels>(?:[a-z0-9-]+\.){2,3})svc(?:\.cluster\.local)?\.?"
    r"(?::(?P<port>\d+))?(?![\w-]|\.[a-z])"
)
_ADDRESS = "127.0.0.1"
_SCHEME_PORTS = {"http://": 80, "https://": 443}


@dataclass(frozen=True, kw_only=True)
class ServiceNames:
    """Replaces the names of Services and of pods behind headless ones.

    Attributes:
        api: Where Services are looked up.
        pods: Returns the node's pods, for target ports with names.
    """

    api: Api
    pods: Callable[[], Iterable[JsonObject]]

    async def rewrite(self, text: str, pod: JsonObject) -> str:
        """Return a text of one pod's container with every known name replaced."""
        subdomain = pod["spec"].get("subdomain")
        if subdomain:
            text = re.sub(rf"(?<![\w.-])[a-z0-9-]+\.{subdomain}(?![\w.-])", _ADDRESS, text)
        for match in reversed(list(_NAME.finditer(text))):
            place = await self._place(match)
            text = text[: match.start()] + place + text[match.end() :]
        return text

    async def _place(self, match: re.Match[str]) -> str:
        labels = match["labels"].rstrip(".").split(".")
        scheme = match["scheme"] or ""
        port = match["port"] or _SCHEME_PORTS.get(scheme)
        if len(labels) == 2:
            service = await self._service(namespace=labels[1], name=labels[0])
            if service is None:
                return match[0]
            if port and service["spec"].get("clusterIP") != "None":
                return f"{scheme}{_ADDRESS}:{self._target_port(service, int(port))}"
        return f"{scheme}{_ADDRESS}" + (f":{match['port']}" if match["port"] else "")

    async def _service(self, namespace: str, name: str) -> JsonObject | None:
        try:
            return await self.api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        except ApiError:
            return None

    def _target_port(self, service: JsonObject, number: int) -> int:
        ports = service["spec"].get("ports") or []
        target = next((p.get("targetPort", number) for p in ports if p["port"] == number), number)
        return target if isinstance(target, int) else self._named_port(service, target) or number

    def _named_port(self, service: JsonObject, name: str) -> int | None:
        selector = (service["spec"].get("selector") or {}).items()
        namespace = service["metadata"]["namespace"]
        for pod in self.pods():
            labels = pod["metadata"].get("labels") or {}
            if pod["metadata"]["namespace"] == namespace and selector <= labels.items():
                for container in pod["spec"]["containers"]:
                    for port in container.get("ports") or []:
                        if port.get("name") == name:
                            return int(port["containerPort"])
        return None
