"""Scripted outcomes for single pods of a process node, handed over through its directory.

A test leaves a rule; the node takes it when it starts a container of a pod with these labels, and
plays the outcome instead of running the command.
"""

import dataclasses
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from tools.cluster.api import JsonObject
from tools.cluster.outcomes import Outcome


def leave(directory: Path, labels: Mapping[str, str], outcome: Outcome, times: int = 1) -> None:
    """Let the next containers of pods with these labels end as told.

    Args:
        directory: The node's.
        labels: Labels the pod must have.
        outcome: What happens; `before` cannot be handed over.
        times: For how many containers.
    """
    if outcome.before is not None:
        raise ValueError("an outcome with `before` works in a scripted node only")
    rules = directory / "faults"
    rules.mkdir(parents=True, exist_ok=True)
    content = {"labels": dict(labels), "outcome": dataclasses.asdict(outcome)}
    for _ in range(times):
        name = secrets.token_hex(8)
        (rules / f".{name}").write_text(json.dumps(content))
        (rules / f".{name}").rename(rules / f"{name}.json")


def take(directory: Path, pod: JsonObject) -> Outcome | None:
    """Return and use up a rule for this pod, if there is one."""
    labels = pod["metadata"].get("labels") or {}
    for path in sorted((directory / "faults").glob("*.json")):
        rule = json.loads(path.read_text())
        if rule["labels"].items() <= labels.items():
            path.unlink()
            return Outcome(**rule["outcome"])
    return None
