"""A machine of its own on this machine: namespaces, one network link, a place in the cgroups.

Whatever a node does in it (mounts, bridges, addresses, firewall rules, processes) is invisible
outside and gone with its process 1, which dies with whoever started it, even if that was killed.
A starter that was killed leaves empty cgroups behind; the next machine removes them.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tools.cluster.processes import Keeper, Process, ProcessError
from tools.cluster.waiting import eventually
from tools.node import init, packages
from tools.paths import TESTS

_CGROUPS = Path("/sys/fs/cgroup")
_PREFIX = "autodidact"
_SLOTS = range(1, 255)


class Machine:
    """One machine; needs root.

    Attributes:
        directory: All its files; removed at the end.
        slot: A number no other machine here has at the same time.
    """

    def __init__(self) -> None:
        packages.require()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-machine-"))
        # Pods' users other than root have files in it.
        self.directory.chmod(0o755)
        self._keeper = Keeper(self.directory, remove=True)
        self.slot = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def outside(self) -> str:
        """This side's address of the link."""
        return f"10.240.{self.slot}.1"

    @property
    def address(self) -> str:
        """The machine's address of the link."""
        return f"10.240.{self.slot}.2"

    @property
    def pod_addresses(self) -> str:
        """Addresses for its pods; this side knows the way to them."""
        return f"10.241.{self.slot}.0/24"

    @property
    def cgroup(self) -> str:
        """The parent of its pods' cgroups, in every hierarchy."""
        return f"/{_PREFIX}-{self.slot}"

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Process:
        """Starts a program in the machine; it logs to `<name>.log` in the machine's directory."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.directory), **(environment or {})}
        # A killed nsenter must not leave its child behind.
        bound = ("setpriv", "--pdeathsig", "KILL", *command)
        return self._keeper.start(name, [*self._enter(), *bound], variables)

    def run(self, *command: str | Path, input_text: str | None = None) -> str:
        """Runs a program in the machine and returns what it printed.

        Raises:
            ProcessError: If it fails; the message holds its errors.
        """
        return run(*self._enter(), *command, input_text=input_text)

    def connect(self, other: "Machine") -> None:
        """Lays a cable to another machine; each knows the way to the other's pods."""
        ends = ((self, f"peer{other.slot}", other), (other, f"peer{self.slot}", self))
        (_, near, _), (_, far, _) = ends
        first, second = f"{near} netns {self._pid}", f"{far} netns {other._pid}"
        run("ip", *f"link add {first} type veth peer name {second}".split())
        for machine, link, peer in ends:
            for command in (
                f"address add {machine.address}/32 dev {link}",
                f"link set {link} up",
                f"route add {peer.address}/32 dev {link}",
                f"route add {peer.pod_addresses} via {peer.address} dev {link}",
            ):
                machine.run("ip", *command.split())

    def processes(self) -> list[psutil.Process]:
        """Returns everything that runs in it, its pods' programs too."""
        return psutil.Process(self._pid).children(recursive=True)

    def close(self) -> None:
        """Ends the machine with everything in it."""
        self._keeper.close()
        if self.slot:
            _remove_cgroups(self.cgroup)

    def _start(self) -> None:
        namespaces = ("--mount", "--net", "--pid", "--uts", "--mount-proc")
        unshare = ["unshare", *namespaces, "--fork", "--kill-child=SIGKILL", "--"]
        command = [*unshare, sys.executable, "-m", "tools.node.init", self.directory]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS)}
        outer = self._keeper.start("machine", command, environment)
        outer.wait_until((self.directory / init.READY).exists)
        (child,) = psutil.Process(outer.pid).children()
        self._pid = child.pid
        self._take_slot()
        self._set_up_link()
        _remove_cgroups(self.cgroup)
        for hierarchy in _hierarchies():
            (hierarchy / self.cgroup.strip("/")).mkdir()

    def _take_slot(self) -> None:
        """Takes the first slot whose link is free; the link goes away with the machine."""
        for slot in _SLOTS:
            link = f"ip link add {_PREFIX}{slot} type veth peer name eth0 netns {self._pid}"
            with contextlib.suppress(ProcessError):
                run(*link.split())
                self.slot = slot
                return
        raise ProcessError(f"no free link {_PREFIX}{_SLOTS[0]} to {_PREFIX}{_SLOTS[-1]}")

    def _set_up_link(self) -> None:
        link = f"{_PREFIX}{self.slot}"
        outside = (
            f"address add {self.outside}/30 dev {link}",
            f"link set {link} up",
            f"route add {self.pod_addresses} via {self.address}",
        )
        inside = (
            f"address add {self.address}/30 dev eth0",
            "link set eth0 up",
            f"route add default via {self.outside}",
        )
        for command in outside:
            run("ip", *command.split())
        for command in inside:
            self.run("ip", *command.split())

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--uts", "--"]


def run(*command: str | Path, input_text: str | None = None) -> str:
    """Runs a program and returns what it printed.

    Raises:
        ProcessError: If it fails; the message holds its errors.
    """
    answer = subprocess.run(command, input=input_text, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        called = " ".join(map(str, command))
        raise ProcessError(f"{called} exited with {answer.returncode}: {answer.stderr[-4000:]}")
    return answer.stdout


def _hierarchies() -> Iterator[Path]:
    """Yields the roots of all cgroup hierarchies; there is one in version 2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        yield _CGROUPS
        return
    for path in sorted(_CGROUPS.iterdir()):
        if (path / "cgroup.procs").exists() and not path.is_symlink():
            yield path


def _remove_cgroups(name: str) -> None:
    for hierarchy in _hierarchies():
        top = hierarchy / name.strip("/")
        for directory, _, _ in os.walk(top, topdown=False):
            # A process that has just ended may still count.
            eventually(lambda path=Path(directory): _is_removed(path), 10)


def _is_removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
