"""What the API server's audit log says about the operator: its gaps and its writes.

Gaps need to know what a pod published and what a Job waited for, so the log must hold the bodies
of these writes: start the cluster with `Options(audit_rules=auditing.RULES)`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from autodidact_contract.task import Result, Task
from autodidact_operator.cluster import labels
from tools.cluster import audit

RULES: tuple[dict[str, Any], ...] = (
    {
        "level": "Request",
        "verbs": ["create"],
        "resources": [{"group": "batch", "resources": ["jobs"]}],
    },
    {
        "level": "Request",
        "verbs": ["patch", "update"],
        "resources": [{"group": "", "resources": ["pods/status"]}],
    },
)
"""Audit rules that `stage_gaps` needs."""

Entry = dict[str, Any]


def stage_gaps(audit_log: Path, namespace: str) -> list[float]:
    """Returns the seconds between the end of a stage and the Job that waited for it, per Job.

    From the moment the API server accepted the status that made the last pod of what the Job reads
    terminal, to the moment it received the Job. Jobs that wait for nothing, and retries, which wait
    on purpose, are left out.

    Raises:
        ValueError: If the log was written without `RULES`.
    """
    ended: dict[str, datetime] = {}  # By key of what was published.
    seen: set[str] = set()  # Pods; nodes may write a terminal status more than once.
    gaps = []
    for entry in _of(audit_log, namespace):
        if _resource(entry) == "pods/status" and entry["objectRef"]["name"] not in seen:
            if published := _published(entry):
                seen.add(entry["objectRef"]["name"])
                ended.update(dict.fromkeys(published, _time(entry["stageTimestamp"])))
        elif (entry["verb"], _resource(entry)) == ("create", "jobs"):
            received = _time(entry["requestReceivedTimestamp"])
            waited_for = [ended[key] for key in _keys_read(entry) if key in ended]
            if waited_for:
                gaps.append((received - max(waited_for)).total_seconds())
    return gaps


def operator_writes(audit_log: Path, namespace: str, user: str) -> Counter[tuple[str, str]]:
    """Returns how often a user wrote in a namespace, refused writes too, by verb and resource.

    Args:
        audit_log: The log.
        namespace: That of the objects written.
        user: For a pod `system:serviceaccount:<namespace>:<account>`.
    """
    entries = (e for e in _of(audit_log, namespace) if e["user"]["username"] == user)
    return Counter((entry["verb"], _resource(entry)) for entry in entries)


def seconds_of_runs(audit_log: Path, namespace: str, plural: str) -> float:
    """Returns the seconds from the creation of the first run to the last change of a status."""
    entries = [e for e in _of(audit_log, namespace) if e["objectRef"]["resource"] == plural]
    began = min(_time(e["requestReceivedTimestamp"]) for e in entries if e["verb"] == "create")
    ended = max(_time(e["stageTimestamp"]) for e in entries if _resource(e) == f"{plural}/status")
    return (ended - began).total_seconds()


def _of(audit_log: Path, namespace: str) -> Iterator[Entry]:
    for entry in audit.read(audit_log):
        if entry["objectRef"].get("namespace") == namespace:
            yield entry


def _resource(entry: Entry) -> str:
    about = entry["objectRef"]
    return "/".join(about[part] for part in ("resource", "subresource") if part in about)


def _accepted(entry: Entry) -> bool:
    return bool(entry["responseStatus"]["code"] < 300)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _body(entry: Entry) -> dict[str, Any]:
    if "requestObject" not in entry:
        raise ValueError("no bodies in the audit log; start the cluster with auditing.RULES")
    body: dict[str, Any] = entry["requestObject"]
    return body


def _published(entry: Entry) -> list[str]:
    """Returns the keys that a pod says it published, if this write shows that its worker is done.

    A kubelet writes what has changed: the pod's phase may come in a write of its own, later.
    """
    if not _accepted(entry):
        return []
    containers = (_body(entry).get("status") or {}).get("containerStatuses") or ()
    ends = [(c.get("state") or {}).get("terminated") or {} for c in containers]
    messages = [end["message"] for end in ends if end.get("exitCode") == 0 and end.get("message")]
    return [key for text in messages for key in Result.model_validate_json(text).published.values()]


def _keys_read(entry: Entry) -> list[str]:
    """Returns the keys of the artifacts that a first attempt of a run's Job reads."""
    job = _body(entry)
    if job["metadata"].get("labels", {}).get(labels.ATTEMPT) != "1" or not _accepted(entry):
        return []
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    text = next(item["value"] for item in environment if item["name"] == "AUTODIDACT_TASK")
    inputs = [
        i for stage in Task.model_validate(json.loads(text)).stages for i in stage.inputs.values()
    ]
    return [i.artifact.rpartition("-")[2] for i in inputs if i.artifact]
