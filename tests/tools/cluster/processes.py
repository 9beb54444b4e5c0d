"""Starting, watching and ending the cluster's processes.

`Keeper` talks to a child process (`cluster.keeper`) that is the parent of all of them, so that they
end with the starter even when it is killed.
"""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.paths import TESTS

# Below the range from which the kernel takes ports for outgoing connections, so that a port stays
# free while its server is down.
_PORTS = range(14000, 30000)


class ProcessError(Exception):
    """A process died or did not become ready; the message holds the end of its log."""


class PortTakenError(ProcessError):
    """Somebody else took a port between the choice and its use; choosing again helps."""


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback interface that nobody listens on."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise ProcessError(f"fewer than {count} free ports in {_PORTS}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Process:
    """One process of the cluster, by the name it has in its keeper."""

    def __init__(self, keeper: "Keeper", name: str, pid: int, log: Path) -> None:
        self._keeper = keeper
        self.name = name
        self.pid = pid
        self.log = log

    def exit_code(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        code: int | None = self._keeper.request(do="exit_code", name=self.name)
        return code

    def stop(self, grace_s: float | None = None) -> int:
        """End the process and return its exit code; 0 seconds of grace kill it at once."""
        return int(self._keeper.request(do="stop", name=self.name, grace_s=grace_s))

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Return when the process is ready.

        Raises:
            PortTakenError: If it died because one of its ports is in use.
            ProcessError: If it died for another reason or was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            code = self.exit_code()
            if code is not None:
                raise self._error(f"{self.name} exited with {code}")
            if time.monotonic() > deadline:
                raise self._error(f"{self.name} is not ready after {timeout_s:.0f} s")
            time.sleep(0.05)

    def _error(self, what: str) -> ProcessError:
        tail = log_tail(self.log)
        kind = PortTakenError if "address already in use" in tail else ProcessError
        return kind(f"{what}; the end of {self.log}:\n{tail}")


class Keeper:
    """Starts processes that end with this one, however this one ends.

    Args:
        directory: Where logs go; the keeper's own is `keeper.log`.
        remove: Remove the directory when everything has ended.
    """

    def __init__(self, directory: Path, *, remove: bool = False) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tools.cluster.keeper"]
        if remove:
            command += ["--remove", str(directory)]
        with (directory / "keeper.log").open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        grace_s: float = 0.0,
    ) -> Process:
        """Start a process that writes to `<name>.log` in the keeper's directory."""
        log = self.directory / f"{name}.log"
        pid = self.request(
            do="start",
            name=name,
            command=[str(part) for part in command],
            environment=dict(environment),
            log=str(log),
            grace_s=grace_s,
        )
        return Process(self, name, pid, log)

    def request(self, **request: Any) -> Any:
        """Send one request and return its result."""
        if self._popen.stdin is None or self._popen.stdout is None:
            raise ProcessError("the keeper has no pipes")
        with self._lock:
            try:
                self._popen.stdin.write(json.dumps(request).encode() + b"\n")
                self._popen.stdin.flush()
                line = self._popen.stdout.readline()
            except (BrokenPipeError, ValueError):
                line = b""
        if not line:
            self._popen.wait()
            raise ProcessError(f"the keeper is gone: {log_tail(self.directory / 'keeper.log')}")
        answer = json.loads(line)
        if "error" in answer:
            raise ProcessError(f"{request.get('do')} {request.get('name')}: {answer['error']}")
        return answer["result"]

    def end_processes(self) -> None:
        """End all processes; the keeper can start others afterwards."""
        self.request(do="end")

    def close(self) -> None:
        """End all processes and the keeper; return when they are gone."""
        with self._lock:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()  # type: ignore[union-attr]
            self._popen.wait()
            self._popen.stdout.close()  # type: ignore[union-attr]


def log_tail(path: Path, length: int = 3000) -> str:
    """Return the end of a log file, or nothing if there is none."""
    try:
        return path.read_bytes()[-length:].decode(errors="replace")
    except OSError:
        return ""
