"""Namespaces in which nothing else exists."""

import subprocess
import sys
from pathlib import Path

import pytest

from autodidact_worker.sandbox import namespaces

INSIDE = """
import os, socket, sys
from pathlib import Path
from autodidact_worker.sandbox import namespaces
readable, root, outside = sys.argv[1:]
namespaces.enter([readable], Path(root), 1 << 20, 8)
print(
    os.getpid(),
    os.getcwd(),
    socket.gethostname(),
    os.path.exists(outside),
    os.path.exists(readable),
    os.access(readable, os.W_OK),
    flush=True,
)
"""


def test_a_process_sees_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    """It is the first process of its machine, in an empty directory; no other file is there."""
    given, root, outside = tmp_path / "given", tmp_path / "root", tmp_path / "outside"
    for folder in (given, root, outside):
        folder.mkdir()
    if reason := namespaces.refusal([str(given)], root):
        pytest.skip(f"this machine allows no namespaces: {reason}")
    command = [sys.executable, "-c", INSIDE, str(given), str(root), str(outside)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "1",
        namespaces.WRITABLE,
        namespaces.HOST_NAME,
        "False",
        "True",
        "False",
    ]


def test_a_refusal_says_why(tmp_path: Path) -> None:
    """Where a path to show does not exist the trial fails, and says which; we stay where we are."""
    here = Path.cwd()
    assert namespaces.refusal([str(tmp_path / "gone")], tmp_path) != ""
    assert Path.cwd() == here
