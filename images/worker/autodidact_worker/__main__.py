"""``python -m autodidact_worker``: runs the task in the environment, or one stage by hand."""

import argparse
import sys
from pathlib import Path

from autodidact_contract.environment import STORE, TASK

STAGES = Path(__file__).parent / "stages"

USAGE = f"""\
Without arguments: runs the stages of the task in {TASK} and publishes each in
{STORE}. This is what a Job does.
With a stage: runs it once on local folders and writes the artifact's files and its manifest.json
into --out. An output folder can be the --input of the next stage.
"""


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser."""
    names = sorted(path.stem.rstrip("_").replace("_", "-") for path in STAGES.glob("[a-z]*.py"))
    made = argparse.ArgumentParser(
        "python -m autodidact_worker",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("stage", nargs="?", choices=names, help="stage kind")
    made.add_argument("--config", type=Path, help="stage config, YAML or JSON")
    made.add_argument(
        "--input", action="append", default=[], metavar="NAME=DIR", help="repeat for each input"
    )
    made.add_argument("--out", type=Path, help="folder to write, must be new or empty")
    made.add_argument("--run-kind", default="", help="kind of the run, which report asks for")
    made.add_argument("--shard", type=int, default=0)
    made.add_argument("--shards", type=int, default=1)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Runs and returns the exit code, see ``autodidact_contract.task``."""
    commands = parser()
    options = commands.parse_args(arguments)
    # Imported late: --help answers at once.
    from autodidact_worker import process  # noqa: PLC0415

    if options.stage is None:
        return process.run_from_environment()
    if options.config is None or options.out is None:
        commands.error("a stage needs --config and --out")
    return process.run_by_hand(options)


if __name__ == "__main__":
    sys.exit(main())
