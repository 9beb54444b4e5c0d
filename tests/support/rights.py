"""What the operator asked of the API server, as the audit log has it."""

from collections import Counter
from typing import Any

from support.deployed import ACCOUNT
from tools.cluster import audit
from tools.cluster.control_plane import Cluster

RULE: dict[str, Any] = {
    "level": "Metadata",
    "users": [ACCOUNT],
    "resources": [
        {"group": group}
        for group in (
            *("", "apps", "authentication.k8s.io", "authorization.k8s.io", "autodidact.dev"),
            *("batch", "coordination.k8s.io", "events.k8s.io"),
        )
    ],
}
"""Audit rule: everything the operator asks of the API server, reads too."""

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


def granted(cluster: Cluster) -> set[Asked]:
    """Returns what the roles of the operator's account allow, as the API server has them."""
    rules = []
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in cluster.get(kind, "--all-namespaces")["items"]:
            if ACCOUNT in map(_account, binding.get("subjects", ())):
                role, place = binding["roleRef"], binding["metadata"].get("namespace", "")
                rules += cluster.get(role["kind"], role["name"], place)["rules"]
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _account(subject: dict[str, Any]) -> str:
    """Returns the user name of a binding's subject, if it is a ServiceAccount."""
    return f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}"


def _what(entry: dict[str, Any]) -> Asked:
    about = entry["objectRef"]
    names = [about[part] for part in ("resource", "subresource") if part in about]
    return entry["verb"], about.get("apiGroup", ""), "/".join(names)
