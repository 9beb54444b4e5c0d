"""What the operator asked of the API server, as the audit log has it."""

from collections import Counter
from typing import Any

from cluster import audit
from cluster.control_plane import Cluster
from e2e.house import ACCOUNT

Asked = tuple[str, str, str]
"""Verb, group, and resource with its subresource."""


def asked(cluster: Cluster, decision: str) -> Counter[Asked]:
    """Returns how often the operator asked for what, and got this decision: allow or forbid."""
    return Counter(
        _what(entry)
        for entry in audit.read(cluster.audit_log)
        if entry["user"]["username"] == ACCOUNT
        and entry.get("annotations", {}).get("authorization.k8s.io/decision") == decision
    )


def missing(cluster: Cluster) -> set[Asked]:
    """Returns what the operator asked for and never got.

    An API server that has just started knows no roles for a moment and forbids everything.
    """
    return set(asked(cluster, "forbid")) - set(asked(cluster, "allow"))


def _what(entry: dict[str, Any]) -> Asked:
    about = entry["objectRef"]
    names = [about[part] for part in ("resource", "subresource") if part in about]
    return entry["verb"], about.get("apiGroup", ""), "/".join(names)
