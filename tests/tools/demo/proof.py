"""``python -m tools.demo.proof``: the built-in tasks of both kinds on several seeds, with their controls.

Every arm is a run for each seed. Its table has every figure of every seed with mean and spread;
below it stand the claims, and whether they held. All of it is written to ``report.html``, for
programs to ``summary.json``, with each run's own report beside it. Exits with 0 only if every claim
held. Given again, it goes on where it was.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from autodidact_contract.api.status import RunStatus
from autodidact_contract.base import canonical_json
from tools.demo import development_cluster, reft_arms, selfreward_arms
from tools.demo.arms import Arm
from tools.demo.outcome import Outcome
from tools.demo.presenting import Found, caption, judge, of_arm, table
from tools.installation import Installation
from tools.local_run import fetch_report, run

Execute = Callable[[dict[str, Any], Path], Outcome]

ARMS = (*selfreward_arms.ARMS, *reft_arms.ARMS)
TASKS = tuple(dict.fromkeys(arm.task for arm in ARMS))
WIDTH = 110
NAMESPACE = "proof"


@click.command()
@click.option("--task", type=click.Choice(TASKS), multiple=True, help="Of one kind only.")
@click.option("--arm", type=click.Choice([arm.name for arm in ARMS]), multiple=True)
@click.option("--seeds", default="0,1,2", show_default=True, help="Separated by commas.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/proof"))
@click.option("--cluster", is_flag=True, help="On a development cluster, not in local mode.")
def main(
    task: tuple[str, ...], arm: tuple[str, ...], seeds: str, output: Path, cluster: bool
) -> None:
    """Run the proof."""
    console = Console(record=True, highlight=False, width=WIDTH)
    chosen = [one for one in ARMS if one.task in (task or TASKS) and (not arm or one.name in arm)]
    found: Found = {}
    with _place(cluster) as execute:
        for one in chosen:
            found[one.name] = {
                seed: execute(one.body(seed), output / one.name / str(seed))
                for seed in map(int, seeds.split(","))
            }
            _show(console, one, found, output)
    console.save_html(str(output / "report.html"))
    told = {one.name: of_arm(one, found, output) for one in chosen}
    (output / "summary.json").write_bytes(canonical_json(told))
    console.print(f"report: {output / 'report.html'}")
    sys.exit(0 if all(claim.right for one in chosen for claim in judge(one, found)) else 1)


def _show(console: Console, arm: Arm, found: Found, output: Path) -> None:
    """Prints an arm's table, what it is of, and its claims."""
    console.rule(arm.title)
    console.print(table(arm, found[arm.name]))
    console.print(caption(arm, found[arm.name], output), style="dim")
    for claim in judge(arm, found):
        console.print(claim.said, style=claim.style)


@contextmanager
def _place(cluster: bool) -> Iterator[Execute]:
    """Gives what takes a run and a folder and returns what came of it."""
    if not cluster:
        yield _locally
        return
    with development_cluster.started(NAMESPACE) as installed:
        yield partial(_on_cluster, installed)


def _locally(body: dict[str, Any], folder: Path) -> Outcome:
    finished = run(body, folder)
    page = fetch_report(finished, folder / "report")
    return Outcome(status=finished.status, page=page, cpu_seconds=finished.cpu_seconds)


def _on_cluster(installed: Installation, body: dict[str, Any], folder: Path) -> Outcome:
    body["metadata"]["namespace"] = NAMESPACE
    installed.cluster.apply(body)
    kind, name = body["kind"].lower(), body["metadata"]["name"]

    def ask() -> RunStatus:
        return RunStatus.model_validate(installed.status(NAMESPACE, name, kind))

    status = development_cluster.follow({name: ask})[name]
    page = development_cluster.download(installed, status, folder / "report")
    return Outcome(status=status, page=page)


if __name__ == "__main__":
    main()
