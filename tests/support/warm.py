"""Worker processes that begin with their libraries imported; that takes seconds each otherwise.

They are forked from a process of multiprocessing's that has imported what trains and has done
nothing else. It ends with the tests.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [f"autodidact_worker.stages.train_{kind}" for kind in ("sft", "dpo", "ppo")]
)


def start(environment: Mapping[str, str]) -> ForkServerProcess:
    """Starts ``python -m autodidact_worker`` with these variables beside the present ones."""
    process = _CONTEXT.Process(target=_work, args=({**os.environ, **environment},))
    process.start()
    return process


def _work(environment: dict[str, str]) -> None:
    from autodidact_worker.__main__ import main  # noqa: PLC0415 - of the process that works

    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main([]))
