"""Names of Services in a container's variables and arguments."""

import asyncio
from typing import Any, cast

import pytest

from tools.cluster.api import Api, ApiError, JsonObject
from tools.cluster.service_names import ServiceNames

_SERVICES: dict[str, JsonObject] = {
    "operator": {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": 8080}]},
    "ranks": {"clusterIP": "None"},
}
_POD: JsonObject = {"spec": {"subdomain": "ranks"}}


class _Services:
    """The one call that the names need of an API client."""

    async def get(self, path: str, **_: Any) -> JsonObject:
        name = path.rpartition("/")[2]
        if name not in _SERVICES:
            raise ApiError(404, "NotFound", path)
        return {"metadata": {"name": name, "namespace": "ns"}, "spec": _SERVICES[name]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://operator.ns.svc/x", "http://127.0.0.1:8080/x"),
        ("http://operator.ns.svc.cluster.local:80/x", "http://127.0.0.1:8080/x"),
        ("operator.ns.svc:80,operator.ns.svc:81", "127.0.0.1:8080,127.0.0.1:81"),
        ("ranks.ns.svc:29500", "127.0.0.1:29500"),
        ("job-0.ranks.ns.svc:29500", "127.0.0.1:29500"),
        ("job-0.ranks:29500", "127.0.0.1:29500"),
        ("http://absent.ns.svc/x", "http://absent.ns.svc/x"),
        ("a.b.svc.example.org", "a.b.svc.example.org"),
        ("job-0.other", "job-0.other"),
    ],
)
def test_names_become_places(text: str, expected: str) -> None:
    """Names of Services lead to the loopback interface, other names stay."""
    names = ServiceNames(api=cast("Api", _Services()), pods=list)
    assert asyncio.run(names.rewrite(text, _POD)) == expected
