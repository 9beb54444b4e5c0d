"""A worker process in this one: its environment and its last words."""

from pathlib import Path

from autodidact_contract.task import Result


def last_words(environ: dict[str, str]) -> Result:
    """The termination message."""
    return Result.model_validate_json(Path(environ["TERMINATION_LOG"]).read_bytes())
