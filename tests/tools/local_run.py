"""Runs in local mode, by the command a user has, and what they came to."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import run_prefix
from autodidact_operator.local.run import run_ref

NAMESPACE = "default"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended.

    Attributes:
        status: Its final status.
        cpu_seconds: CPU time of all its processes, over all invocations.
        store: Where its artifacts are.
    """

    status: RunStatus
    cpu_seconds: float
    store: Path


def run(body: Mapping[str, Any], folder: Path) -> Finished:
    """Runs a manifest to its end, or goes on where it was; its files are below ``folder``.

    Raises:
        FileNotFoundError: It has no end: it was interrupted or refused, as the command has said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest, store = folder / "run.yaml", folder / "store"
    manifest.write_text(yaml.safe_dump(dict(body), sort_keys=False))
    before = cpu_of_children()
    ref = run_ref(body["kind"], NAMESPACE, body["metadata"]["name"], body["spec"])
    record = store / run_prefix(NAMESPACE, ref.uid) / "run.json"
    record.unlink(missing_ok=True)  # of an earlier invocation
    spent = folder / f"{ref.uid}.cpu-seconds"
    try:
        command_line("run", str(manifest), "--store", str(store), "--logs", str(folder / "logs"))
    finally:
        with spent.open("a") as file:
            file.write(f"{cpu_of_children() - before:.1f}\n")
    return Finished(
        status=RunStatus.model_validate(json.loads(record.read_bytes())["status"]),
        cpu_seconds=sum(map(float, spent.read_text().split())),
        store=store,
    )


def fetch_report(finished: Finished, folder: Path) -> Path:
    """Copies a run's report into a folder and returns the page."""
    where = ("--store", str(finished.store), "--output", str(folder))
    if command_line("fetch", finished.status.report, *where):
        raise FileNotFoundError(f"{finished.store} has no report of the run")
    return folder / "report.html"


def command_line(*arguments: str) -> int:
    """Returns the exit code: a run that a gate has failed has an end, and a report, as well."""
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    command = [sys.executable, "-m", "autodidact_operator.cli", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def cpu_of_children() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
