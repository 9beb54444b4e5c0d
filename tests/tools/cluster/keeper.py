"""The parent of a cluster's processes, which ends them when the starter dies.

It reads requests, one JSON object per line, from its standard input and answers each with one on
its standard output; `processes.Keeper` is the other side.
The end of the input, or the starter's death, however it comes, ends every process it started and
everything those left behind, and removes the directory given by `--remove`.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import shim

TICK_S = 0.25


@dataclass(frozen=True)
class _Process:
    popen: subprocess.Popen[bytes]
    grace_s: float


class Keeper:
    """Answers requests until the starter goes away."""

    def __init__(self) -> None:
        self._starter = os.getppid()
        self._processes: dict[str, _Process] = {}
        self._closed = False

    def serve(self) -> None:
        """Handle requests until the input ends or the starter is dead."""
        pending = b""
        os.set_blocking(0, False)
        while not self._closed and os.getppid() == self._starter:
            # The input may stay open in a forked child of a dead starter, hence the tick.
            if not select.select([0], [], [], TICK_S)[0]:
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._respond(json.loads(line))

    def end(self) -> None:
        """Stop every process, the last started first, and whatever they left."""
        for name in reversed(list(self._processes)):
            self._stop(name)
        shim.kill_children()

    def _respond(self, request: dict[str, Any]) -> None:
        try:
            answer = {"result": getattr(self, f"do_{request.pop('do')}")(**request)}
        except (OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._closed = True

    def do_start(
        self, name: str, command: list[str], environment: dict[str, str], log: str, grace_s: float
    ) -> int:
        """Start a process that appends its output to a log file; return its id."""
        with Path(log).open("ab") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=Path(log).parent,
                start_new_session=True,
                # Safe: this process has one thread.
                preexec_fn=_die_with_keeper,  # noqa: PLW1509
            )
        self._processes[name] = _Process(popen, grace_s)
        return popen.pid

    def do_exit_code(self, name: str) -> int | None:
        """Return a process's exit code, or None while it runs."""
        return self._processes[name].popen.poll()

    def do_stop(self, name: str, grace_s: float | None = None) -> int:
        """End a process, kindly for `grace_s` seconds first; return its exit code."""
        return self._stop(name, grace_s)

    def do_end(self) -> None:
        """End everything; the answer comes when nothing is left."""
        self.end()

    def _stop(self, name: str, grace_s: float | None = None) -> int:
        process = self._processes.pop(name)
        if process.popen.poll() is None:
            grace_s = process.grace_s if grace_s is None else grace_s
            _end(process.popen, grace_s)
        return process.popen.returncode


def _end(popen: subprocess.Popen[bytes], grace_s: float) -> None:
    if grace_s > 0:
        popen.terminate()
        deadline = time.monotonic() + grace_s
        while popen.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    popen.kill()
    popen.wait()


def _die_with_keeper() -> None:
    shim.die_with_parent(signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Serve until the end, whatever the end is."""
    # Ctrl-C in the starter's terminal is the starter's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    shim.adopt_orphans()
    keeper = Keeper()
    try:
        keeper.serve()
    finally:
        keeper.end()
        if arguments[:1] == ["--remove"]:
            shutil.rmtree(arguments[1], ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
