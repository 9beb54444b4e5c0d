"""A store behind a proxy that loses what it is told to lose."""

from support.faulty_proxy import FaultyProxy


def through(proxy: FaultyProxy, scheme: str = "http") -> dict[str, str]:
    """The environment that leads to the proxy."""
    return {"AWS_ENDPOINT_URL": f"{scheme}://{proxy.endpoint}"}
