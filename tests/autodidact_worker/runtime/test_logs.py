"""Logging of a worker."""

import subprocess
import sys

CODE = """
import logging
from autodidact_worker.runtime import logs
logging.basicConfig(format="theirs %(message)s")
logs.configure()
logging.getLogger("ours").info("before")
token = logs.stage.set("judge-1")
logging.getLogger("ours").info("key=1")
logging.getLogger("urllib3").info("chatter")
logging.getLogger("urllib3").warning("trouble")
logs.stage.reset(token)
logging.getLogger("ours").debug("detail")
"""


def test_lines_go_to_stdout_with_the_stage() -> None:
    """Each line names the stage at work; libraries are heard from warnings on; debug is off."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    lines = [line.split(" ", 2)[2] for line in done.stdout.splitlines()]
    assert lines == [
        "INFO stage=- ours before",
        "INFO stage=judge-1 ours key=1",
        "WARNING stage=judge-1 urllib3 trouble",
    ]
    assert done.stderr == ""
