"""A development cluster with the operator on it, and the reports of what ran there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from autodidact_contract.resources import RunStatus
from cluster.control_plane import Cluster
from installation import BUCKET, NODE, Installation

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
