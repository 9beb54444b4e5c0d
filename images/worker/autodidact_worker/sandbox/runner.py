"""The fork server: a process that forks a locked-in child for each program.

Needs the standard library and sympy, nothing else of the worker. Started by ``pool`` with an empty
environment and spoken to over its standard input and output; see ``start`` and ``_serve``.
"""

import gc
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import kernel, landlock, namespaces, seccomp, trees

LENGTH = struct.Struct("<I")
RESULT = struct.Struct("<Bid")
"""How a program ended (an index into ``ENDINGS``), its wait status, and its seconds."""
ENDINGS = ("ended", "timeout", "output")

_WARM = (
    "bisect calendar cmath collections copy ctypes dataclasses datetime decimal enum fractions "
    "functools heapq itertools json math numbers operator random re statistics string sympy time "
    "typing"
)
_TYPICAL = """
x, y = sympy.symbols("x y")
sympy.solve([x + y - 3, x - 1])
sympy.solve(sympy.Eq(3 * x + 12, 84), x)
sympy.solve(x**2 - 4, x)
sympy.simplify(sympy.Rational(1, 3) + x)
"""
"""What programs do with sympy: done once before the fork, it costs each of them less."""
_LIBRARY = Path(os.__file__).parent
_WATCH_S = 0.05
"""How often a program's directory is measured."""
_CHUNK = 1 << 16
_OPEN_FILES = 64


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: Wall clock, from its start to its answer.
        memory_bytes: Address space; the interpreter with sympy takes some 150 MiB of it.
        output_bytes: What it prints, to standard output and error together.
        value_bytes: Its answer as text.
        source_bytes: Its own text. Less than a pipe holds.
        file_bytes: A single file it writes.
        disk_bytes: Its temporary directory.
        files: Files and directories there.
    """

    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 16
    value_bytes: int = 1 << 12
    source_bytes: int = 1 << 15
    file_bytes: int = 1 << 20
    disk_bytes: int = 1 << 24
    files: int = 512


@dataclass(frozen=True)
class _Lock:
    """What locks a program in, made ready before the fork."""

    limits: Limits
    landlock_abi: int
    seccomp_filter: bytes
    folder: Path
    """The temporary directory, one after the other's; empty between programs."""


def start() -> NoReturn:
    """Runs the server: settings in, layers out, then programs in and results out until the end.

    Messages have their length in front. The settings are JSON: ``limits``, ``packages`` (name to
    the directory that holds it), ``root`` (an empty directory) and ``without`` (layers to leave
    out). The answer is JSON too: ``in_force`` and ``missing``, or ``error``.
    """
    commands, answers = _take_pipes()
    settings = json.loads(receive(lambda size: os.read(commands, size)) or b"{}")
    limits, root = Limits(**settings["limits"]), Path(settings["root"])
    if os.fork():
        _keep(root)
    _go_first()
    try:
        _import(settings["packages"])
        lock, layers = _lock_in(limits, root, settings["packages"].values(), settings["without"])
    except Exception as error:  # noqa: BLE001 - told to the worker, which gives up
        _send(answers, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        sys.exit(1)
    _send(answers, json.dumps(layers).encode())
    gc.collect()
    gc.freeze()
    _serve(commands, answers, lock)
    sys.exit(0)


def receive(read: Callable[[int], bytes]) -> bytes | None:
    """Reads one message, or None at the end of the stream.

    Args:
        read: Returns up to that many bytes, none at the end.
    """
    header = _exactly(read, LENGTH.size)
    return None if header is None else _exactly(read, LENGTH.unpack(header)[0])


def _exactly(read: Callable[[int], bytes], size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        chunk = read(size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _send(descriptor: int, message: bytes) -> None:
    message = LENGTH.pack(len(message)) + message
    while message:
        message = message[os.write(descriptor, message) :]


# Before the first program.


def _take_pipes() -> tuple[int, int]:
    """Moves the worker's pipes away from where programs look for theirs."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return commands, answers


def _keep(root: Path) -> NoReturn:
    """Waits for the end of the runner, which cannot remove its own directory, and removes it.

    So nothing is left when the worker is killed: the runner ends when its pipe is closed. A death
    signal would not do, it comes with the end of the thread that started the runner.
    """
    namespaces.wait()
    with suppress(OSError):  # The worker may be faster, and its directory hold other runners'.
        trees.remove(root)
        root.parent.rmdir()
    os._exit(0)


def _go_first() -> None:
    """Has the kernel end this process and its programs, not the worker, where memory runs out."""
    with suppress(OSError):  # without /proc, or where it is read only
        Path("/proc/self/oom_score_adj").write_text("1000")


def _import(packages: Mapping[str, str]) -> None:
    """Imports what programs use, and has sympy load what it loads late."""
    warnings.simplefilter("ignore")
    sys.path += sorted({str(Path(folder).parent) for folder in packages.values()})
    for name in _WARM.split():
        importlib.import_module(name)
    from . import program  # noqa: PLC0415 - needs sympy, which is not on the path before

    scope: dict[str, Any] = {"sympy": sys.modules["sympy"]}
    exec(_TYPICAL, scope)  # noqa: S102 - our own text
    program.describe(scope["x"])
    # What a program may import is loaded, or below the packages' own paths, or standard.
    sys.path[:] = [entry for entry in sys.path if _standard(entry)]


def _standard(entry: str) -> bool:
    return Path(entry) in {_LIBRARY, _LIBRARY / "lib-dynload"}


def readable(packages: Sequence[str]) -> list[str]:
    """Returns what programs may read: the standard library, packages, shared libraries.

    No path lies below another one.

    The standard library is listed entry by entry, because site-packages lies in it.

    Args:
        packages: Directories of packages.
    """
    standard = [
        str(path)
        for path in _LIBRARY.iterdir()
        if path.name not in {"site-packages", "dist-packages"}
    ]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
    beside = [str(path) for path in _LIBRARY.parent.glob("lib*.so*")]
    found = {path for path in (*system, *beside, *standard, *packages) if Path(path).exists()}
    return sorted(path for path in found if found.isdisjoint(map(str, Path(path).parents)))


def _lock_in(
    limits: Limits, root: Path, packages: Any, without: Sequence[str]
) -> tuple[_Lock, Mapping[str, Any]]:
    """Locks this process in, as far as a process that forks can be.

    Raises:
        OSError: A layer that is wanted and known to the kernel failed.
    """
    in_force, missing = [], dict.fromkeys(without, "switched off")
    paths = readable(list(packages))
    folder = root
    if "namespaces" not in missing and (reason := namespaces.refusal(paths, root)):
        missing["namespaces"] = reason
    if "namespaces" not in missing:
        namespaces.enter(paths, root, limits.disk_bytes, limits.files)
        folder = Path(namespaces.WRITABLE)
        in_force.append("namespaces")
    os.umask(0o077)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    _check_powerless()
    in_force += ["no_new_privs", "capabilities", "rlimits"]
    abi = 0
    if "landlock" not in missing:
        try:
            abi = landlock.abi()
        except OSError as error:
            missing["landlock"] = str(error)
        else:
            # The importer lists the standard library, all else in it is a path of its own.
            landlock.restrict(abi, paths, [str(folder)], [str(_LIBRARY)])
            in_force.append(f"landlock-{abi}")
    code = b""
    if "seccomp" not in missing:
        seccomp.install(seccomp.runner_filter())
        code = seccomp.program_filter()
        in_force.append("seccomp")
    lock = _Lock(limits, abi, code, folder)
    return lock, {"in_force": in_force, "missing": missing}


def _check_powerless() -> None:
    if kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError("no_new_privs is not set")
    try:
        os.chroot("/")
    except PermissionError:
        return
    raise OSError("capabilities are left")


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


# Programs.


def _serve(commands: int, answers: int, lock: _Lock) -> None:
    """Runs programs until the worker closes its end, alive or not."""
    while (message := receive(lambda size: os.read(commands, size))) is not None:
        try:
            result = _run(message.decode("utf-8", "surrogatepass"), commands, lock)
        finally:
            trees.clear(lock.folder)
        if result is None:
            return
        _send(answers, result)


def _run(source: str, commands: int, lock: _Lock) -> bytes | None:
    """Runs one program and returns ``RESULT`` and its report; None if the worker went away."""
    printed, output = os.pipe()
    reported, report = os.pipe()
    begin = time.monotonic()
    runner = os.getpid()
    child = os.fork()
    if not child:
        _become_program(source, output, report, lock, runner)
    os.close(output)
    os.close(report)
    watch = _Watch(printed, reported, commands, lock)
    try:
        ending = watch.until(begin + lock.limits.seconds)
    finally:
        # It is alone in its group and session: it cannot fork. Harmless if it has ended.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    if ending == "ended" and not watch.drain():
        ending = "output"
    os.close(printed)
    os.close(reported)
    if _out_of_time(status, usage, lock.limits):
        ending = "timeout"
    if ending is None:
        return None
    head = RESULT.pack(ENDINGS.index(ending), status, time.monotonic() - begin)
    return head + bytes(watch.report)


class _Watch:
    """Waits for a program's report while keeping an eye on what it uses."""

    def __init__(self, printed: int, reported: int, commands: int, lock: _Lock) -> None:
        self.report = bytearray()
        self._printed, self._reported, self._commands = printed, reported, commands
        self._lock = lock
        self._bytes_printed = 0
        self._poll = select.poll()
        for descriptor in (printed, reported, commands):
            self._poll.register(descriptor, select.POLLIN)

    def until(self, deadline: float) -> str | None:
        """Returns one of ``ENDINGS``, or None if the worker went away.

        The program is over when nobody can write to its report any more: it ended, or closed it
        and has no more to say.
        """
        measured = time.monotonic()
        while (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in self._poll.poll(min(left, _WATCH_S) * 1e3):
                if descriptor == self._commands:
                    return None  # Nothing is sent while a program runs: the pipe was closed.
                if not self._take(descriptor):
                    if descriptor == self._reported:
                        return "ended"
                    self._poll.unregister(descriptor)
            if self._too_much():
                return "output"
            if time.monotonic() - measured > _WATCH_S:
                limits = self._lock.limits
                if trees.exceeds(self._lock.folder, limits.disk_bytes, limits.files):
                    return "output"
                measured = time.monotonic()
        return "timeout"

    def drain(self) -> bool:
        """Reads what an ended program left in its pipes; returns whether that is within limits."""
        for descriptor in (self._reported, self._printed):
            while not self._too_much() and self._take(descriptor):
                pass
        return not self._too_much()

    def _take(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK)
        if descriptor == self._reported:
            self.report += chunk
        else:
            self._bytes_printed += len(chunk)
        return bool(chunk)

    def _too_much(self) -> bool:
        limits = self._lock.limits
        longest_report = limits.value_bytes + 256  # Its first line.
        return self._bytes_printed > limits.output_bytes or len(self.report) > longest_report


def _out_of_time(status: int, usage: resource.struct_rusage, limits: Limits) -> bool:
    """Returns whether the kernel ended it for its processor time, which a slow clock can hide."""
    if not os.WIFSIGNALED(status):
        return False
    number = os.WTERMSIG(status)
    used = usage.ru_utime + usage.ru_stime
    return number == signal.SIGXCPU or (number == signal.SIGKILL and used >= limits.seconds)


# In the child.


def _become_program(source: str, output: int, report: int, lock: _Lock, runner: int) -> NoReturn:
    """Locks this process in for good and runs the program; never returns to the runner's code."""
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != runner:
            os._exit(1)  # It died before the line above.
        os.setsid()
        for old, new in ((output, 1), (output, 2), (report, 3)):
            os.dup2(old, new)
        os.closerange(4, _OPEN_FILES)
        os.chdir(lock.folder)
        _confine(lock)
        sys.modules["random"].seed(0)  # The same program has the same answer.
        from .program import run  # noqa: PLC0415 - loaded already, see _import

        run(source, 3, lock.limits.value_bytes)
    finally:
        os._exit(1)


def _confine(lock: _Lock) -> None:
    limits = lock.limits
    seconds = int(limits.seconds) + 1
    # The wall clock comes first; this is for a program whose runner was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, 32)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_STACK, 1 << 23)
    for what in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE, resource.RLIMIT_SIGPENDING):
        _limit(what, 0)
    if lock.landlock_abi:
        # All that the runner may read, which is less than "/", and this directory.
        landlock.restrict(lock.landlock_abi, ["/"], [str(lock.folder)])
    if lock.seccomp_filter:
        seccomp.install(lock.seccomp_filter)
