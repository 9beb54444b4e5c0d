"""A development cluster with the operator on it, and the reports of what ran there."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.types import FINAL
from tools.cluster.control_plane import Cluster
from tools.installation import BUCKET, NODE, Installation

POLL_S = 1.0

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def started(namespace: str) -> Iterator[Installation]:
    """Gives an operator that is ready, and a namespace whose runs can reach the store."""
    console.rule("development cluster")
    with Cluster() as cluster:
        cluster.add_node(NODE)
        console.rule("helm install")
        installed = Installation(cluster=cluster).install()
        console.print(cluster.helm("list", "-A").rstrip())
        cluster.create_namespace(namespace)
        installed.give_store(namespace)
        yield installed


def download(installed: Installation, status: RunStatus, output: Path) -> Path:
    """Brings a run's report to this machine and returns the page."""
    where = ("fetch", status.report, "--store", f"s3://{BUCKET}", "--output", str(output))
    environment = {**os.environ, **installed.store_environment()}
    command = [sys.executable, "-m", "autodidact_operator.cli", *where]
    subprocess.run(command, env=environment, check=True)
    return output / "report.html"


def follow(runs: Mapping[str, Callable[[], RunStatus]]) -> dict[str, RunStatus]:
    """Prints a line for every change until all runs have ended, and returns what they ended with.

    Args:
        runs: How each is shown, and what asks for its status.
    """
    found: dict[str, RunStatus] = {}
    shown: dict[str, str] = {}
    while True:
        for name, ask in runs.items():
            found[name] = ask()
            line = _line(found[name])
            if line != shown.get(name):
                shown[name] = line
                console.print(f"{time.strftime('%H:%M:%S')}  {name:20} {line}")
        if all(status.phase in FINAL for status in found.values()):
            return found
        time.sleep(POLL_S)


def _line(status: RunStatus) -> str:
    condition = next((c for c in status.conditions if c.type == "Reconciling"), None)
    odd = condition and condition.reason not in ("Progressing", "Completed")
    return (
        f"{status.phase:10} iteration {status.iteration:4} {status.stage:22} "
        f"{status.progress:>4} {status.eta:>4}  {condition.message if odd and condition else ''}"
    ).rstrip()
