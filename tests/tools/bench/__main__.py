"""``python -m tools.bench [PART]...``: measures, and prints a line per figure."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from tools.bench import answers, control, figures, ppo, sandbox, worker
from tools.bench.figures import Figure, Machine

Part = Callable[[], list[Figure]]
PARTS = ("gap", "throughput", "worker", "run", "answers", "sandbox", "ppo")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--repetitions", default=5, show_default=True, help="Of all but throughput, run.")
@click.option("--runs", default=100, show_default=True, help="Of throughput.")
@click.option("--quick", is_flag=True, help="Few repetitions and small runs: does it work?")
@click.option("--profile", type=click.Path(path_type=Path), help="Of the operator in throughput.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the figures here.")
def main(
    parts: tuple[str, ...],
    repetitions: int,
    runs: int,
    quick: bool,
    profile: Path | None,
    output: Path | None,
) -> None:
    """Measures the parts named, or all of them."""
    if quick:
        repetitions, runs = 2, min(runs, 10)
    measures: dict[str, Part] = {
        "gap": lambda: asyncio.run(control.gap(repetitions)),
        "throughput": lambda: asyncio.run(control.throughput(runs, profile)),
        "worker": lambda: worker.first_token(repetitions),
        "run": lambda: worker.whole_run(small=quick),
        "answers": lambda: answers.comparisons(repetitions),
        "sandbox": lambda: sandbox.programs(repetitions),
        "ppo": lambda: ppo.training(repetitions),
    }
    machine = Machine.here()
    found = [figure for part in parts or PARTS for figure in measures[part]()]
    figures.show(Console(highlight=False, soft_wrap=True), machine, found)
    if output:
        figures.write(output, machine, found)


if __name__ == "__main__":
    main()
