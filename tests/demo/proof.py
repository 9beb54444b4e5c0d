"""``python -m demo.proof``: the built-in task for ReFT on several seeds, with its controls.

Two arms start from the same warm-up: ReFT, and SFT continued for the same compute. With annotations
of mixed style ReFT must win by ``GAIN`` on every seed. With annotations of one style, the control,
it must not win. The test split is read once, by finished models that the validation split chose.
Exits with 0 only if both hold.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from autodidact_worker.toy_reft import SIZES
from installation import EXAMPLES
from local_run import Finished, run

GAIN = 0.30
"""By how much ReFT's greedy accuracy must be above that of SFT continued, on every seed."""

NO_GAIN = 0.05
"""The same in the control at most, on average: two standard errors on 500 questions."""

LINES = {"warm-up": "warm-up", "sft": "SFT continued", "ppo": "ReFT"}
FIGURES = {"accuracy": "greedy", "vote_accuracy": "vote@8", "rerank_accuracy": "rerank@8"}
ARMS = {
    "mixed": ("reft-toy.yaml", "Mixed annotations"),
    "control": ("reft-toy-control.yaml", "Control: uniform annotations"),
}

console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True, help="Separated by commas.")
@click.option("--arm", type=click.Choice(list(ARMS)), multiple=True, help="One arm only.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/proof"))
def main(seeds: str, arm: tuple[str, ...], output: Path) -> None:
    """Run the proof."""
    gains: dict[str, list[float]] = {}
    for name in arm or tuple(ARMS):
        manifest, title = ARMS[name]
        found = {}
        for seed in map(int, seeds.split(",")):
            console.rule(f"{manifest}, seed {seed}")
            found[seed] = run(seeded(manifest, seed), output / name / str(seed))
        console.print(table(title, found))
        gains[name] = [gain(finished) for finished in found.values()]
    sys.exit(verdict(gains))


def seeded(manifest: str, seed: int) -> dict[str, Any]:
    """Returns an example with another seed, under a name of its own."""
    body: dict[str, Any] = yaml.safe_load((EXAMPLES / manifest).read_text())
    body["metadata"]["name"] += f"-{seed}"
    body["spec"]["seed"] = seed
    return body


def gain(finished: Finished) -> float:
    """Returns by how much ReFT's greedy accuracy is above that of SFT continued."""
    ours, theirs = (finished.figure(line, "accuracy") for line in ("ppo", "sft"))
    if ours is None or theirs is None:
        raise click.ClickException("the run has not measured both arms")
    return ours - theirs


def table(title: str, found: dict[int, Finished]) -> Table:
    """Returns every figure of every seed, with mean and spread."""
    shown = Table(title=f"{title}, {SIZES['test']} held-out questions")
    shown.add_column("")
    for seed in found:
        shown.add_column(f"seed {seed}", justify="right")
    shown.add_column("mean ± sd", justify="right")
    for line, name in LINES.items():
        for figure, kind in FIGURES.items():
            values = [finished.figure(line, figure) for finished in found.values()]
            shown.add_row(f"{name}, {kind}", *_cells(values))
        shown.add_section()
    shown.add_row("ReFT - SFT continued, greedy", *_cells([gain(f) for f in found.values()]))
    seconds = [finished.cpu_seconds for finished in found.values()]
    shown.add_row("CPU seconds", *(f"{value:.0f}" for value in (*seconds, mean(seconds))))
    return shown


def verdict(gains: dict[str, list[float]]) -> int:
    """Says whether the arms came out as they should, and returns the exit code."""
    failed = 0
    for name, values in gains.items():
        if name == "mixed":
            right, wanted = min(values) >= GAIN, f"at least {GAIN:.2f} on every seed"
        else:
            right, wanted = mean(values) <= NO_GAIN, f"at most {NO_GAIN:.2f} on average"
        told = f"{name}: ReFT gains {', '.join(f'{value:+.3f}' for value in values)}; {wanted}"
        console.print(told, style="green" if right else "red")
        failed += not right
    return 1 if failed else 0


def _cells(values: Sequence[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    cells = ["-" if value is None else f"{value:.3f}" for value in values]
    if len(known) > 1:
        return [*cells, f"{mean(known):.3f} ± {stdev(known):.3f}"]
    return [*cells, f"{known[0]:.3f}" if known else "-"]


if __name__ == "__main__":
    main()
