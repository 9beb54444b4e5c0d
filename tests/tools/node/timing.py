"""Where the time of a run's stages went, from the audit log and the workers' logs."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tools import auditing
from tools.cluster import audit
from tools.node.runs import Place

PARTS = ("schedule", "start", "import", "load", "work", "publish")
"""Of the time from a Job to its end; before ``load`` there is nothing but Kubernetes and Python."""

_JOB = "batch.kubernetes.io/job-name"
_SECONDS = re.compile(r"\b(wait|load|fetch|work|publish)Seconds=([0-9.]+)")
_OURS = {"wait": "load", "load": "import", "fetch": "load", "work": "work", "publish": "publish"}
"""The workers' phases in our words: their ``load`` imports the libraries that a stage needs."""


def lines(place: Place) -> Iterator[str]:
    """Yields what the stages of a namespace took, as people read it; its pods are still there."""
    log = place.installed.cluster.audit_log
    split = [found for pod in place.items("pods") if (found := _split(place, log, pod))]
    assert split, "the audit log shows no pod from its Job to its end"
    means = {part: statistics.mean(one[part] for one in split) for part in PARTS}
    shown = ", ".join(f"{part} {seconds:.2f}" for part, seconds in means.items())
    yield f"{len(split)} Jobs took {sum(means.values()):.1f} s each: {shown}"
    gaps = sorted(auditing.stage_gaps(log, place.namespace))
    assert gaps, "the audit log shows no Job after another"
    middle, worst = statistics.median(gaps) * 1e3, gaps[-1] * 1e3
    yield f"gap between stages {middle:.0f} ms in the middle, {worst:.0f} ms at most"


def _split(place: Place, log: Path, pod: dict[str, Any]) -> dict[str, float]:
    """Returns the seconds of a pod by part, nothing if the log does not show all of it."""
    name, job = pod["metadata"]["name"], pod["metadata"]["labels"][_JOB]
    seen: dict[str, datetime] = {}
    for entry in audit.read(log):
        about = entry["objectRef"]
        if about.get("namespace") == place.namespace and about.get("name") in (name, job):
            for moment in _moments(entry):
                seen.setdefault(moment, datetime.fromisoformat(entry["stageTimestamp"]))
    if len(seen) < 4:
        return {}
    told = _told(place.kubectl("logs", name).splitlines())
    parts = {
        "schedule": (seen["bound"] - seen["created"]).total_seconds(),
        "start": (seen["running"] - seen["bound"]).total_seconds(),
        **{part: told[part] for part in PARTS[2:]},
    }
    at_work = (seen["ended"] - seen["running"]).total_seconds()
    parts["import"] += max(0.0, at_work - sum(told.values()))
    return parts


def _moments(entry: dict[str, Any]) -> Iterator[str]:
    """Yields what an entry about a Job or its pod is the first sign of, maybe."""
    about = entry["objectRef"]
    what = entry["verb"], about["resource"], about.get("subresource", "")
    if what == ("create", "jobs", ""):
        yield "created"
    if what == ("create", "pods", "binding"):
        yield "bound"
    if what == ("patch", "pods", "status"):
        status = entry["requestObject"].get("status") or {}
        for container in status.get("containerStatuses") or ():
            yield from {"running": ("running",), "terminated": ("running", "ended")}.get(
                next(iter(container["state"]), ""), ()
            )


def _told(log: Iterable[str]) -> Counter[str]:
    """Returns the seconds by part that a worker's log tells, over all its stages."""
    found: Counter[str] = Counter()
    for line in log:
        for phase, seconds in _SECONDS.findall(line):
            found[_OURS[phase]] += float(seconds)
    return found
