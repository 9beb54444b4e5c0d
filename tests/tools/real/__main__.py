"""``python -m tools.real``: a ReFTRun and a SelfRewardRun on a real chat model, in local mode.

It shows that the system works on what users bring: a pretrained model with its own tokenizer and
chat template. Whether so small a model learns anything in so few steps is reported, not promised.
"""

import os
import time
from pathlib import Path
from string import Template
from typing import Any

import click
import yaml
from rich.console import Console

from autodidact_operator.local.terminal import results
from autodidact_worker.runtime import rows
from tools.local_run import fetch_report, run
from tools.real import model, problems

HERE = Path(__file__).parent
RUNS = ("reft", "selfreward")
SEED = 0
SPLITS = {"train": 160, "validation": 24, "test": 40}
"""Problems of each split of the ReFTRun."""

SEED_ROWS = {"instructions": 48, "evaluations": 40, "ranked": 8}
"""Problems of each part of the SelfRewardRun's data; none is in two."""

console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--only", type=click.Choice(RUNS), multiple=True, help="One of the runs only.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True)
def main(only: tuple[str, ...], output: Path) -> None:
    """Run both."""
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    work = (output / "real").resolve()
    where = {"model": str(model.folder()), "data": str(write_data(work / "data"))}
    for name in only or RUNS:
        console.rule(f"{name}.yaml")
        began = time.monotonic()
        finished = run(manifest(name, where), work / name)
        page = fetch_report(finished, output / f"real-{name}")
        console.print(results(finished.status.history))
        status = finished.status
        told = f"{status.phase} ({status.conditions[0].message})"
        seconds = time.monotonic() - began
        console.print(f"{told} after {seconds:.0f} s; report: {page}", style="bold")


def manifest(name: str, where: dict[str, str]) -> dict[str, Any]:
    """Returns a run with the places of its model and its data."""
    text = Template((HERE / f"{name}.yaml").read_text()).substitute(where)
    body: dict[str, Any] = yaml.safe_load(text)
    return body


def write_data(folder: Path) -> Path:
    """Writes the data of both runs and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = problems.problems(SEED, sum(SPLITS.values()) + sum(SEED_ROWS.values()))
    for name, count in (*SPLITS.items(), *SEED_ROWS.items()):
        own, pool = pool[:count], pool[count:]
        made = (
            problems.questions(own, name, SEED)
            if name in SPLITS
            else getattr(problems, name)(own, SEED)
        )
        rows.write(folder / f"{name}.jsonl", made)
    return folder


if __name__ == "__main__":
    main()
