"""``python -m demo``: development cluster, chart, one toy run, and what came out of it.

Exits with 0 only if the run Succeeded and M2 is better than M1 by ``GAIN``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from autodidact_contract.resources import RunStatus
from autodidact_operator.view import results
from cluster.control_plane import Cluster
from installation import BUCKET, EXAMPLES, NODE, Installation

GAIN = 0.8
"""By how much M2's mean oracle quality (0 to 5) must be above M1's."""

POLL_S = 1.0
RUN, NAMESPACE = "toy", "demo"
MANIFEST = EXAMPLES / "selfreward-toy.yaml"
Kubectl = Callable[..., str]

console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--cluster", "which", default="new", help="new, or current: what kubectl uses now.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True)
def main(which: str, output: Path) -> None:
    """Run the demo."""
    began = time.monotonic()
    if which == "current":
        status = _follow(_current_kubectl)
        _conclude(status)
        return
    console.rule("development cluster")
    with Cluster() as cluster:
        cluster.add_node(NODE)
        console.rule("helm install")
        installed = Installation(cluster=cluster).install()
        console.print(cluster.helm("list", "-A").rstrip())
        cluster.create_namespace(NAMESPACE)
        installed.give_store(NAMESPACE)
        status = _follow(cluster.kubectl)
        console.print(cluster.kubectl("-n", NAMESPACE, "get", "srr", RUN, "-o", "wide").rstrip())
        report = _download(installed, status, output)
        console.print(f"done in {time.monotonic() - began:.0f} s", style="dim")
        if report:
            console.print(f"report: {report}", style="bold")
        _conclude(status)


def _current_kubectl(*arguments: str) -> str:
    done = subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _follow(kubectl: Kubectl) -> RunStatus:
    """Applies the run and prints a line for every change until it has ended."""
    console.rule(f"kubectl apply -f {MANIFEST.name}")
    kubectl("-n", NAMESPACE, "apply", "-f", str(MANIFEST))
    shown = ""
    while True:
        body: dict[str, Any] = json.loads(
            kubectl("-n", NAMESPACE, "get", "selfrewardrun", RUN, "-o", "json")
        )
        status = RunStatus.model_validate(body.get("status") or {})
        line = _line(status)
        if line != shown:
            console.print(f"{time.strftime('%H:%M:%S')}  {line}")
            shown = line
        if status.phase in ("Succeeded", "Failed"):
            return status
        time.sleep(POLL_S)


def _line(status: RunStatus) -> str:
    condition = next((c for c in status.conditions if c.type == "Reconciling"), None)
    odd = condition and condition.reason not in ("Progressing", "Completed")
    return (
        f"{status.phase:10} iteration {status.iteration:4} {status.stage:22} "
        f"{status.progress:>4} {status.eta:>4}  {condition.message if odd and condition else ''}"
    ).rstrip()


def _download(installed: Installation, status: RunStatus, output: Path) -> Path | None:
    """Brings the report to this machine."""
    if not status.report:
        return None
    where = ("fetch", status.report, "--store", f"s3://{BUCKET}", "--output", str(output))
    environment = {**os.environ, **installed.store_environment()}
    command = [sys.executable, "-m", "autodidact_operator.cli", *where]
    subprocess.run(command, env=environment, check=True)
    return output / "report.html"


def _conclude(status: RunStatus) -> None:
    console.print(results(status.history))
    quality = {line.iteration: line.quality for line in status.history}
    before, after = quality.get(0), quality.get(1)
    condition = status.conditions[0]
    if status.phase != "Succeeded":
        console.print(f"{status.phase}: {condition.reason}: {condition.message}", style="red")
        sys.exit(1)
    if before is None or after is None or after - before < GAIN:
        console.print(f"M2's quality {after} is not {GAIN} above M1's {before}", style="red")
        sys.exit(1)
    console.print(
        f"Succeeded ({condition.message}): quality {before:.2f} -> {after:.2f} of 5", style="green"
    )


if __name__ == "__main__":
    main()
