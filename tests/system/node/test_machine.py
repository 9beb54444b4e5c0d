"""A machine and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

from tools.cluster.waiting import eventually
from tools.node.machine import Machine
from tools.paths import TESTS

_STARTER = """
from tools.node.machine import Machine
with Machine() as machine:
    machine.start("sleeper", ["sleep", "1000"])
    print(machine.slot, machine.directory, flush=True)
    input()
"""


def _traces(slot: int, directory: Path) -> list[str]:
    """Returns what can be seen of a machine from outside."""
    links = Path(f"/sys/class/net/autodidact{slot}")
    mounts = [
        line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line
    ]
    routes = Path("/proc/net/route").read_text().splitlines()
    return [
        *(str(path) for path in (links, directory) if path.exists()),
        *mounts,
        *(line for line in routes if line.startswith(f"autodidact{slot}\t")),
    ]


def _cgroups(slot: int) -> list[Path]:
    """Returns a machine's cgroups in all hierarchies."""
    return list(Path("/sys/fs/cgroup").glob(f"**/autodidact-{slot}"))


def test_a_machine_is_alone_and_leaves_nothing() -> None:
    """It has one link to the outside, its own process 1, and leaves no link, mount, file or cgroup."""
    with Machine() as machine:
        links = machine.run("ip", "-brief", "link").splitlines()
        assert {"lo", "eth0"} <= {line.split("@")[0].split()[0] for line in links}
        assert machine.run("ps", "-p", "1", "-o", "args=").split()[1:3] == ["-m", "tools.node.init"]
        assert _traces(machine.slot, machine.directory)
    assert not _traces(machine.slot, machine.directory)
    assert not _cgroups(machine.slot)


def test_a_killed_starter_leaves_nothing_running() -> None:
    """Processes, mounts, links, routes and files go; the next machine removes the cgroups."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        text=True,
    ) as starter:
        assert starter.stdout is not None
        slot, directory = starter.stdout.readline().split()
        assert _traces(int(slot), Path(directory))
        starter.kill()
    eventually(lambda: not _traces(int(slot), Path(directory)))
    with Machine() as successor:
        assert successor.slot == int(slot)
    assert not _cgroups(int(slot))
