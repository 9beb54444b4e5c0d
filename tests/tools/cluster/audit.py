"""The API server's audit log: what it records and how to read it.

Every entry has microsecond timestamps (`requestReceivedTimestamp`, `stageTimestamp`), which makes
the log the measure of latencies and of write counts.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_RECORDED = [
    {"group": "", "resources": ["pods", "pods/status", "pods/binding", "pods/eviction", "events"]},
    {"group": "events.k8s.io", "resources": ["events"]},
    {"group": "batch", "resources": ["jobs", "jobs/status"]},
    {"group": "autodidact.dev"},
]


def write_policy(path: Path, extra_rules: Sequence[dict[str, Any]] = ()) -> Path:
    """Write an audit policy that records writes of what the operator and its Jobs touch.

    Args:
        path: The file to write.
        extra_rules: Rules of `audit.k8s.io/v1` that come first, to record more or in detail.
    """
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            *extra_rules,
            {"level": "Metadata", "verbs": _WRITES, "resources": _RECORDED},
            {"level": "None"},
        ],
    }
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    return path


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of an audit log, an unfinished last line left out."""
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
