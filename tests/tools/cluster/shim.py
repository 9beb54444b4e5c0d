"""Runs one command and sees to it that nothing it started outlives it.

`python shim.py COMMAND...` is a container's stand-in for its process namespace:

- when the command ends, everything it left behind is killed, detached processes too;
- when the process that started the shim dies, however it dies, the command is killed;
- SIGTERM goes to the command alone, as a container runtime signals process 1 only;
- the exit code is the command's, or 128 plus the signal that ended it.

It is run by its path and imports little, for it starts once per container.
`keeper` uses its functions.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# What the kernel sends to the shim when its parent dies; the shim never gets it otherwise.
PARENT_DIED = signal.SIGHUP
_HANDLED = {signal.SIGCHLD, signal.SIGTERM, PARENT_DIED}


def main(command: list[str]) -> int:
    """Run a command to its end and return its exit code."""
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    if not die_with_parent(PARENT_DIED):
        return 1
    child = os.fork()
    if child == 0:
        _become(command)
    try:
        return _wait(child)
    finally:
        kill_children()


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own parent."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals) -> bool:
    """Let the kernel signal this process when its parent dies; False if it already has.

    The parent is the thread that started this process, so that thread must live on.
    """
    starter = os.environ.pop("CLUSTER_STARTER", "")
    _prctl(_PR_SET_PDEATHSIG, number)
    return starter in ("", str(os.getppid()))


def kill_children() -> None:
    """Kill every descendant and reap it; on return there is none."""
    while True:
        for pid in children():
            _kill(pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> list[int]:
    """Return the process ids whose parent is this process."""
    own = os.getpid()
    # pathlib would double the start-up time of every container.
    names = os.listdir("/proc")  # noqa: PTH208
    return [pid for pid in map(int, filter(str.isdigit, names)) if _parent(pid) == own]


def _become(command: list[str]) -> None:
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    # Python ignores these two, and what is ignored stays ignored in the command.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is its purpose
    except OSError as error:
        print(f"exec: {command[0]!r}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _wait(child: int) -> int:
    while True:
        received = signal.sigwait(_HANDLED)
        if received == PARENT_DIED:
            return 128 + signal.SIGKILL
        if received == signal.SIGTERM:
            os.kill(child, signal.SIGTERM)
        status = _reap(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reap(child: int) -> int | None:
    """Reap whatever has ended, adopted processes too, and return the child's status if it has."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
