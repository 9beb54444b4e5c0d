"""``python -m tools.demo``: development cluster, chart, a toy run of each kind, and what came of them.

Exits with 0 only if both Succeeded and each improved its model by what it should.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from autodidact_contract.api.status import Iteration, RunStatus
from autodidact_operator.local.terminal import results
from tools.demo import development_cluster
from tools.demo.development_cluster import console
from tools.paths import EXAMPLES

NAMESPACE = "demo"
Kubectl = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A run of the demo.

    Attributes:
        manifest: Its file among the examples.
        figure: What must improve.
        before: Line of the history that it is compared with.
        after: Line of the history that must be better.
        gain: By how much.
    """

    manifest: str
    figure: str
    before: str
    after: str
    gain: float

    @property
    def path(self) -> Path:
        """Where its manifest is."""
        return EXAMPLES / self.manifest

    @property
    def address(self) -> str:
        """Returns how kubectl names the run."""
        body = yaml.safe_load(self.path.read_text())
        return f"{body['kind'].lower()}/{body['metadata']['name']}"

    def shortfall(self, history: tuple[Iteration, ...]) -> str:
        """Returns what is missing from the gain, empty where nothing is."""
        values = {line.name: getattr(line, self.figure) for line in history}
        before, after = values.get(self.before), values.get(self.after)
        if before is not None and after is not None and after - before >= self.gain:
            return ""
        return f"{self.figure} of {self.after} is {after}, not {self.gain} above {before}"


EXAMPLE_RUNS = (
    Example(manifest="selfreward-toy.yaml", figure="quality", before="M1", after="M2", gain=0.8),
    Example(manifest="reft-toy.yaml", figure="accuracy", before="sft", after="ppo", gain=0.3),
)
"""Oracle quality is from 0 to 5, accuracy from 0 to 1; sft is SFT for the same compute."""


@click.command()
@click.option("--cluster", "which", default="new", help="new, or current: what kubectl uses now.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True)
def main(which: str, output: Path) -> None:
    """Run the demo."""
    if which == "current":
        sys.exit(_conclude(_run(_current_kubectl)))
    began = time.monotonic()
    with development_cluster.started(NAMESPACE) as installed:
        kubectl = installed.cluster.kubectl
        found = _run(kubectl)
        console.print(kubectl("-n", NAMESPACE, "get", "autodidact").rstrip())
        for example, status in found.items():
            if status.report:
                page = development_cluster.download(installed, status, output / example.path.stem)
                console.print(f"report: {page}", style="bold")
        console.print(f"done in {time.monotonic() - began:.0f} s", style="dim")
        sys.exit(_conclude(found))


def _current_kubectl(*arguments: str) -> str:
    done = subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _run(kubectl: Kubectl) -> dict[Example, RunStatus]:
    """Applies the runs and follows them until all have ended."""
    for example in EXAMPLE_RUNS:
        console.rule(f"kubectl apply -f {example.manifest}")
        kubectl("-n", NAMESPACE, "apply", "-f", str(example.path))
    found = development_cluster.follow(
        {example.address: partial(_status, kubectl, example) for example in EXAMPLE_RUNS}
    )
    return {example: found[example.address] for example in EXAMPLE_RUNS}


def _status(kubectl: Kubectl, example: Example) -> RunStatus:
    text = kubectl("-n", NAMESPACE, "get", example.address, "-o", "json")
    body: dict[str, Any] = json.loads(text)
    return RunStatus.model_validate(body.get("status") or {})


def _conclude(found: dict[Example, RunStatus]) -> int:
    """Prints what each run brought and returns the exit code."""
    failed = 0
    for example, status in found.items():
        console.rule(example.address)
        console.print(results(status.history))
        condition = status.conditions[0]
        told = f"{status.phase}: {condition.reason}: {condition.message}"
        missing = example.shortfall(status.history) if status.phase == "Succeeded" else ""
        bad = bool(missing) or status.phase != "Succeeded"
        console.print(f"{told}; {missing}" if missing else told, style="red" if bad else "green")
        failed += bad
    return 1 if failed else 0


if __name__ == "__main__":
    main()
