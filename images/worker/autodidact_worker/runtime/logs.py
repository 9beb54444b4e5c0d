"""Logging of a worker: to stdout, one line a decision, key=value, with the stage's name."""

import contextvars
import logging
import sys

stage = contextvars.ContextVar("stage", default="-")
"""Name of the stage at work, set by the frame."""


def configure(level: str = "INFO") -> None:
    """Sends every log line to stdout; replaces what a library may have set up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_name_stage)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s stage=%(stage)s %(name)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "urllib3", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _name_stage(record: logging.LogRecord) -> bool:
    record.stage = stage.get()
    return True
