"""What Landlock leaves of the file system."""

import subprocess
import sys
from pathlib import Path

import pytest

from autodidact_worker.sandbox import landlock

CONFINED = """
import os, sys
from autodidact_worker.sandbox import kernel, landlock
readable, writable, listable = sys.argv[1:]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict(landlock.abi(), [readable], [writable], [listable])

def can(do):
    try:
        do()
    except PermissionError:
        return "no"
    return "yes"

print(
    can(lambda: open(f"{readable}/file").close()),
    can(lambda: open(f"{readable}/new", "w").close()),
    can(lambda: open(f"{writable}/new", "w").close()),
    can(lambda: os.listdir(listable)),
    can(lambda: open(f"{listable}/file").close()),
    can(lambda: os.listdir("/")),
    can(lambda: os.execv("/bin/true", ["true"])),
)
"""


def test_only_what_was_named_is_left(tmp_path: Path) -> None:
    """Read, write and list hold each below their own directories; nothing can be executed."""
    try:
        landlock.abi()
    except OSError as error:
        pytest.skip(f"this kernel has no Landlock: {error}")
    folders = [tmp_path / name for name in ("readable", "writable", "listable")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").touch()
    command = [sys.executable, "-c", CONFINED, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["yes", "no", "yes", "yes", "no", "no", "no"]
