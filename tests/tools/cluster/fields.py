"""The downward API: values of a pod's own fields and resources as text."""

import math
import os
import re

from tools.cluster.api import JsonObject

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
_SUFFIXES = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def field_value(pod: JsonObject, path: str) -> str:
    """Return what a `fieldRef` with this path gives; an absent label or annotation is empty.

    Raises:
        KeyError: If the path is not one the downward API knows.
    """
    metadata = pod["metadata"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        items = metadata.get(path.removeprefix("metadata.")) or {}
        return "".join(f'{key}="{value}"\n' for key, value in sorted(items.items()))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.hostIP": pod["status"].get("hostIP", ""),
        "status.podIP": pod["status"].get("podIP", ""),
        "status.podIPs": pod["status"].get("podIP", ""),
    }
    return str(values[path])


def resource_value(container: JsonObject, reference: JsonObject) -> str:
    """Return what a `resourceFieldRef` to one of the container's resources gives."""
    kind, _, resource = reference["resource"].partition(".")
    amounts = (container.get("resources") or {}).get(kind) or {}
    amount = _quantity(amounts[resource]) if resource in amounts else _machine(resource)
    divisor = _quantity(reference.get("divisor") or "1") or 1.0
    return str(math.ceil(amount / divisor))


def _quantity(text: str | float) -> float:
    number, suffix = re.fullmatch(r"([0-9.eE+-]+)([a-zA-Z]*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * _SUFFIXES.get(suffix, 1.0)


def _machine(resource: str) -> float:
    if resource == "cpu":
        return float(os.cpu_count() or 1)
    if resource == "memory":
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return 0.0
