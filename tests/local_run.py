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

from autodidact_contract.artifacts import run_prefix
from autodidact_contract.resources import RunStatus
from autodidact_operator.local import run_ref
from autodidact_store import open_store

NAMESPACE = "default"
_MAX_RECORD = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended.

    Attributes:
        status: Its final status.
        cpu_seconds: CPU time of all its processes, in this invocation.
        store: Where its artifacts are.
    """

    status: RunStatus
    cpu_seconds: float
    store: Path

    def figure(self, line: str, name: str) -> float | None:
        """Returns a figure of the history, None where it was not measured."""
        found = (getattr(row, name) for row in self.status.history if row.name == line)
        return next(found, None)


def run(body: Mapping[str, Any], folder: Path) -> Finished:
    """Runs a manifest to its end, or goes on where it was; its files are below ``folder``.

    Raises:
        subprocess.CalledProcessError: It did not succeed; the command has said why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest, store = folder / "run.yaml", folder / "store"
    manifest.write_text(yaml.safe_dump(dict(body), sort_keys=False))
    before = _children()
    _command("run", str(manifest), "--store", str(store), "--logs", str(folder / "logs"))
    ref = run_ref(body["kind"], NAMESPACE, body["metadata"]["name"], body["spec"])
    opened = open_store(f"file://{store.resolve()}", {})
    record = json.loads(opened.read(f"{run_prefix(NAMESPACE, ref.uid)}run.json", _MAX_RECORD))
    return Finished(
        status=RunStatus.model_validate(record["status"]),
        cpu_seconds=_children() - before,
        store=store,
    )


def fetch_report(finished: Finished, folder: Path) -> Path:
    """Copies a run's report into a folder and returns the page."""
    where = ("--store", str(finished.store), "--output", str(folder))
    _command("fetch", finished.status.report, *where)
    return folder / "report.html"


def _command(*arguments: str) -> None:
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    command = [sys.executable, "-m", "autodidact_operator.cli", *arguments]
    subprocess.run(command, env=environment, check=True)


def _children() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
