"""The worker's side of the sandbox: starts runners, hands them programs, checks what they say.

``with Sandbox() as sandbox: answers = sandbox.run(programs)``. See the package for what it keeps
programs from.
"""

import json
import logging
import os
import platform
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from autodidact_contract import environment
from autodidact_worker.runtime.errors import StageError, UserError
from autodidact_worker.sandbox import probe, processors, trees
from autodidact_worker.sandbox.runner import ENDINGS, LENGTH, RESULT, Limits, receive

__all__ = ["NUMERIC", "Layers", "Limits", "Ran", "Sandbox", "Status"]

log = logging.getLogger(__name__)

Status = Literal["ok", "raised", "timeout", "memory", "output", "killed", "no-solution", "no-value"]
NUMERIC = frozenset({"int", "float", "bool", "fraction", "number"})
"""Kinds whose value ``float`` reads."""

_CLAIMS = frozenset(get_args(Status)) - {"timeout", "killed"}
_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PACKAGES = ("sympy", "mpmath")
_HERE = Path(__file__).resolve().parent
# The package on its own, without the worker around it: "sandbox" imports nothing but sympy.
BOOTSTRAP = (
    "import sys; folder = sys.argv.pop(1); sys.path.append(folder); "
    "from sandbox.runner import start; sys.path.remove(folder); start()"
)
START_S = 120.0
"""Patience with a runner's start: imports from a cold disk."""
GRACE_S = 30.0
"""Patience beyond a program's time with a runner that kills it and removes its files."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a program.

    Attributes:
        status: ``ok``: there is a value. ``raised``: an exception, or the text is not Python or too
            long. ``timeout``, ``memory``, ``output`` (printed, wrote or returned too much): over a
            limit. ``killed``: it ended without a word, by a signal or on its own.
            ``no-solution``: no function of that name. ``no-value``: it returned something that is
            neither a number nor a text, or an integer above what a float holds.
        kind: Of the value: ``int``, ``float``, ``bool``, ``fraction`` (also of sympy), ``number``
            (anything else with a float: Decimal, sympy's pi), ``str``, ``sympy`` (no number),
            ``none``, ``list``, ``tuple``, ``dict``, ``set``, ``frozenset``, ``complex``, ``other``.
            For ``raised`` and ``memory`` the exception's class, for ``killed`` the signal or
            ``exit``; else empty.
        value: For ``ok`` the value as text. If ``kind`` is in ``NUMERIC``, ``float(value)`` is the
            ``float()`` of what the program returned, nan and inf included; True is ``1.0``.
        seconds: Wall clock, without waiting for a free runner.
    """

    status: Status
    kind: str = ""
    value: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What keeps programs in.

    Attributes:
        in_force: Layers that a trial found at work, in every runner.
        missing: The others, and why.
    """

    in_force: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


class Sandbox:
    """A pool of runners. Not for several threads at once.

    A program's text defines ``solution()`` and finds ``math`` and ``sympy`` imported. The same
    program has the same answer each time: hashes and random numbers are seeded alike.

    Attributes:
        layers: What is in force, from ``with`` on.
    """

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        workers: int | None = None,
        required: bool | None = None,
        *,
        without: Collection[str] = (),
        folder: Path | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            limits: What a program may use. All runners together may use that times ``workers``.
            workers: Number of runners; by default this process's share of the processors, see
                ``processors``.
            required: Whether to refuse when any layer is missing; by default whether
                ``AUTODIDACT_SANDBOX`` is ``required``.
            without: Layers that are not even tried: ``namespaces``, ``landlock``, ``seccomp``.
            folder: Where temporary directories go; by default the system's place for them.
        """
        if required is None:
            required = os.environ.get(environment.SANDBOX) == "required"
        self.layers = Layers()
        self._limits = limits
        self._required = required
        self._count = workers or processors.share()
        self._without = tuple(without)
        self._parent = folder
        self._runners: list[_Runner] = []

    def __enter__(self) -> Self:
        """Starts the runners and tries every layer.

        Raises:
            UserError: Programs cannot be kept in on this machine, or not as well as required.
            StageError: A runner ended or took too long, as it may on a busy machine.
        """
        self._folder = tempfile.TemporaryDirectory(
            prefix="autodidact-programs-", dir=self._parent, ignore_cleanup_errors=True
        )
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        log.info(
            "sandbox runners=%d inForce=%s missing=%s",
            self._count,
            ",".join(self.layers.in_force),
            ",".join(self.layers.missing) or "none",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the runners and what they run, and removes their directories."""
        self._stop()

    def run(self, programs: Sequence[str]) -> list[Ran]:
        """Runs each program alone and returns what came of them, in order.

        Args:
            programs: Texts that define ``solution()``.

        Raises:
            RuntimeError: The sandbox is not open.
            UserError: A runner had to be replaced and its successor cannot keep programs in.
            StageError: Or did not start.

        After any exception the sandbox is closed.
        """
        if not self._runners:
            raise RuntimeError("use the sandbox in a with statement")
        try:
            return self._run(programs)
        except BaseException:
            self._stop()  # Results that nobody waits for any more would be the next ones'.
            raise

    def _run(self, programs: Sequence[str]) -> list[Ran]:
        results: dict[int, Ran] = {}
        waiting = enumerate(programs)
        busy: dict[_Runner, int] = {}
        free = list(self._runners)
        while True:
            for runner in free:
                if (number := self._hand_out(runner, waiting, results)) is not None:
                    busy[runner] = number
            if not busy:
                return [results[number] for number in range(len(programs))]
            free = []
            for runner in _first(busy):
                results[busy.pop(runner)] = runner.result()
                free.append(self._replace(runner) if runner.lost else runner)

    def _hand_out(
        self, runner: "_Runner", waiting: Iterator[tuple[int, str]], results: dict[int, Ran]
    ) -> int | None:
        """Gives a runner the next program that can be run and returns its number, if any."""
        for number, source in waiting:
            text = source[: self._limits.source_bytes].encode("utf-8", "surrogatepass")
            if max(len(source), len(text)) <= self._limits.source_bytes:
                runner.give(text)
                return number
            results[number] = Ran(status="raised", kind="SourceTooLong")
        return None

    # Starting.

    def _start(self) -> None:
        self._runners = [self._runner(number) for number in range(self._count)]
        self.layers = _common([self.tried(runner) for runner in self._runners])

    def _runner(self, number: int) -> "_Runner":
        root = Path(self._folder.name) / f"runner-{number}"
        if root.exists():
            trees.remove(root)
        root.mkdir(mode=0o700, parents=True)
        return _Runner(number, root, self._limits, self._without)

    def _replace(self, runner: "_Runner") -> "_Runner":
        runner.stop()
        successor = self._runner(runner.number)
        self._runners[runner.number] = successor
        self.layers = _common([self.layers, self.tried(successor)])
        return successor

    def tried(self, runner: "_Runner") -> Layers:
        """Returns a runner's layers after a program has tried them.

        Raises:
            UserError: Layers are missing, or do not do what they should.
            StageError: There was no answer, or not in time.
        """
        layers = runner.layers()
        self._check(layers)
        with tempfile.NamedTemporaryFile(dir=self._folder.name) as outside:
            runner.give(probe.source(outside.name, platform.node(), layers.in_force).encode())
            found = runner.result()
        if runner.lost or found.status == "timeout":
            raise StageError("SandboxNotStarted", f"a runner was lost at its trial; {_BUSY}")
        if found.status != "ok" or found.value != probe.PASSED:
            raise UserError(
                "SandboxUnavailable",
                f"programs cannot be kept in on this machine: the trial ended {found.status} "
                f"{found.kind} {found.value or '(no value)'} with {', '.join(layers.in_force)} "
                f"(missing: {_list(layers.missing)}); {_REMEDY}",
            )
        return layers

    def _check(self, layers: Layers) -> None:
        names = {name.split("-")[0] for name in layers.in_force}
        if "seccomp" not in names or not names & {"landlock", "namespaces"}:
            raise UserError(
                "SandboxUnavailable",
                "programs need seccomp, and Landlock or namespaces; missing here: "
                f"{_list(layers.missing)}; {_REMEDY}",
            )
        if self._required and layers.missing:
            raise UserError(
                "SandboxUnavailable",
                f"the sandbox is required in full, but lacks {_list(layers.missing)}; allow it on "
                "the nodes (a Localhost seccomp profile that permits unshare and mount) or do not "
                "require it in the ComputeProfile",
            )

    def _stop(self) -> None:
        for runner in self._runners:
            runner.stop()
        self._runners = []
        self._folder.cleanup()


_REMEDY = (
    "use nodes with Linux 5.13 or later, Landlock among its security modules, and a seccomp profile "
    "that permits both, such as RuntimeDefault"
)
_BUSY = (
    "another attempt may do; if not, give the stage more processors or memory in the ComputeProfile"
)


def _common(found: Sequence[Layers]) -> Layers:
    """Returns what is in force in all runners, and missing in any of them."""
    missing = {name: reason for layers in found for name, reason in layers.missing.items()}
    first, *rest = (layers.in_force for layers in found)
    return Layers(
        in_force=tuple(name for name in first if all(name in other for other in rest)),
        missing=missing,
    )


def _list(missing: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in missing.items()) or "nothing"


class _Runner:
    """A runner process, at most one program at a time."""

    def __init__(self, number: int, root: Path, limits: Limits, without: Sequence[str]) -> None:
        self.number = number
        self.lost = False
        self._root = root
        self._limits = limits
        self._deadline = time.monotonic() + START_S
        command = [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP]
        self._process = subprocess.Popen(
            [*command, str(_HERE.parent), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=root,
            env={"PYTHONHASHSEED": "0", "PYTHONCOERCECLOCALE": "0"},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._programs, self.answers = self._process.stdin, self._process.stdout
        settings = {
            "limits": asdict(limits),
            "packages": {name: _package(name) for name in _PACKAGES},
            "root": str(root),
            "without": list(without),
        }
        self._send(json.dumps(settings).encode())

    @property
    def left_s(self) -> float:
        """Seconds in which it should answer; 0 if it should have answered."""
        return max(0.0, self._deadline - time.monotonic())

    def layers(self) -> Layers:
        """Waits for the end of its start.

        Raises:
            UserError: It failed.
            StageError: It ended, or took too long, without a word.
        """
        message = self._wait()
        if message is None:
            reason = "ended" if self.left_s else f"was not ready after {START_S:.0f} s"
            raise StageError("SandboxNotStarted", f"a runner {reason}; {_BUSY}")
        answer: dict[str, Any] = json.loads(message)
        if "in_force" not in answer:
            raise UserError(
                "SandboxUnavailable", f"a runner did not start: {answer['error']}; {_REMEDY}"
            )
        return Layers(in_force=tuple(answer["in_force"]), missing=answer["missing"])

    def give(self, program: bytes) -> None:
        """Hands it a program."""
        self._deadline = time.monotonic() + self._limits.seconds + GRACE_S
        self._send(program)

    def result(self) -> Ran:
        """Waits for the result of its program; a runner that has none is lost."""
        message = self._wait()
        if message is not None:
            return _read(message)
        self.lost = True
        return Ran(status="killed" if self.left_s else "timeout")

    def stop(self) -> None:
        """Ends the process and what runs in it; it removes its directory."""
        self._programs.close()
        try:
            self._process.wait(0 if self.lost else GRACE_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.answers.close()

    def _send(self, message: bytes) -> None:
        # A runner that is gone shows when its answer is read. The pipe is empty and holds it all.
        with suppress(BrokenPipeError):
            self._programs.write(LENGTH.pack(len(message)) + message)

    def _wait(self) -> bytes | None:
        """Returns the next message, or None if the process ended or is overdue."""
        _first([self])
        return receive(self.answers.read) if self.left_s else None


def _first(runners: Collection[_Runner]) -> list[_Runner]:
    """Waits until runners have an answer, ended or are overdue, and returns those."""
    poll = select.poll()
    for runner in runners:
        poll.register(runner.answers, select.POLLIN)
    ready = {number for number, _ in poll.poll(min(runner.left_s for runner in runners) * 1e3)}
    return [runner for runner in runners if runner.answers.fileno() in ready or not runner.left_s]


def _package(name: str) -> str:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise UserError("SandboxUnavailable", f"programs need {name}; install it in the image")
    return found.submodule_search_locations[0]


def _read(message: bytes) -> Ran:
    """Returns a runner's result; the report in it is the program's own and may say anything."""
    ending, status, seconds = RESULT.unpack_from(message)
    if ENDINGS[ending] == "timeout":
        return Ran(status="timeout", seconds=seconds)
    if ENDINGS[ending] == "output":
        return Ran(status="output", seconds=seconds)
    head, _, value = message[RESULT.size :].partition(b"\n")
    claim, _, kind = head.decode("ascii", "replace").partition(" ")
    text = value.decode("utf-8", "replace")
    if claim not in _CLAIMS or not _KIND.fullmatch(kind) or not _plausible(claim, kind, text):
        return Ran(status="killed", kind=_cause(status), seconds=seconds)
    return Ran(status=claim, kind=kind, value=text, seconds=seconds)  # type: ignore[arg-type]


def _plausible(claim: str, kind: str, value: str) -> bool:
    """Returns whether a claim keeps what ``Ran`` promises."""
    if claim != "ok":
        return not value
    if kind not in NUMERIC:
        return True
    try:
        float(value)
    except ValueError:
        return False
    return True


def _cause(status: int) -> str:
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
