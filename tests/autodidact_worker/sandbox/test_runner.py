"""Each layer of the sandbox is what refuses: without it, a harmless probe gets through.

So the programs of the corpus, which ask for the same things in earnest, would get through a sandbox
that lacks a layer, and their tests would notice. They are never run without a layer to show it. A
probe does what its layer forbids in a way that hurts nobody where it is granted.

A layer is taken away here, by what the runner is started with; the product has no such option.
"""

import fcntl
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from autodidact_worker.runtime.errors import UserError
from autodidact_worker.sandbox import pool
from autodidact_worker.sandbox.pool import Limits, Ran, Sandbox

pytestmark = pytest.mark.training

LIMITS = Limits(
    seconds=60.0, memory_bytes=400 << 20, file_bytes=100, output_bytes=10, disk_bytes=8192, files=4
)
HASTY = Limits(seconds=0.9)
"""One second of processor time."""

MARKER = "AUTODIDACT_PROBE_MARKER"
SLEEP_S = 20
"""What a probe leaves behind ends by itself."""

_START = """
import sys
folder = sys.argv.pop(1)
sys.path.append(folder)
import os, resource, types
from sandbox import kernel, landlock, runner, seccomp, trees
sys.path.remove(folder)
runner._TYPICAL = "x = sympy.Symbol('x')"  # Less to compute at the start; no layer.
def shim(module, **changes):
    return types.SimpleNamespace(**{**vars(module), **changes})
@WITHOUT@
runner.start()
"""
_RLIMITS = [
    "AS",
    "CORE",
    "CPU",
    "FSIZE",
    "MEMLOCK",
    "MSGQUEUE",
    "NOFILE",
    "NPROC",
    "SIGPENDING",
    "STACK",
]
_NO_LIMIT = """
real = runner.resource.setrlimit
runner.resource = shim(
    resource, setrlimit=lambda what, pair: what == resource.RLIMIT_%s or real(what, pair)
)
"""
_NO_PRCTL = """
prctl = kernel.prctl
kernel.prctl = lambda option, *rest: 0 if option == kernel.%s else prctl(option, *rest)
"""
WITHOUT: dict[str, str] = {
    "no_new_privs": _NO_PRCTL % "PR_SET_NO_NEW_PRIVS",
    "death signal": _NO_PRCTL % "PR_SET_PDEATHSIG",
    "capabilities": "kernel.drop_capabilities = lambda: None",
    "powerless": "runner._check_powerless = lambda: None",
    "landlock": "landlock.restrict = lambda *_: None",
    "seccomp": "seccomp.install = lambda code: None",
    "session": "runner.os = shim(os, setsid=lambda: None)",
    "descriptors": "runner.os = shim(os, closerange=lambda *_: None)",
    "directory": "runner.trees = shim(trees, clear=lambda *_: None)",
    "disk": "runner.trees = shim(trees, exceeds=lambda *_: False)",
    "output": "runner._Watch._too_much = lambda watch: False",
    "wall clock": """
until = runner._Watch.until
runner._Watch.until = lambda watch, deadline: until(watch, deadline + 60)
""",
    **{name: _NO_LIMIT % name for name in _RLIMITS},
}
"""What takes a layer away, in the runner before it locks itself in."""


def _inherited(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Starts runners with more of this process than they should have."""
    start = pool.subprocess.Popen

    def popen(*arguments: Any, **given: Any) -> Any:
        return start(*arguments, **{**given, **options})

    monkeypatch.setattr(pool.subprocess, "Popen", popen)


WITHOUT_HERE: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "environment": lambda patch: _inherited(patch, env=dict(os.environ)),
    "inheritance": lambda patch: _inherited(patch, close_fds=False),
}
"""The same, in the worker."""


@dataclass(frozen=True)
class Probe:
    """A harmless program and what refuses it.

    Attributes:
        layers: Without all of these it answers ``through``. Where there are two, each refuses it
            alone.
        body: Of ``solution()``. ``@MARKER@`` is a file outside, ``@OPEN@`` a descriptor of it.
        refused: How it ends in the whole sandbox: status and, unless it may vary, kind.
        limits: Of the sandbox.
    """

    layers: tuple[str, ...]
    body: str
    refused: tuple[str, str | None]
    limits: Limits = LIMITS


def _raising(limit: str, value: int) -> Probe:
    """Raises a limit of its own, which is allowed to nobody once it is set."""
    body = f"import resource; resource.setrlimit(resource.RLIMIT_{limit}, ({value}, {value}))"
    return Probe((limit,), body, ("raised", "ValueError"))


_SOCKET = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()"
_FORK = """
    child = os.fork()
    if not child: os._exit(0)
    os.waitpid(child, 0)
"""
_DISK = """
    for number in range(6): open(str(number), "w").close()
    time.sleep(3)
"""
_DESCRIPTORS = """
    for number in range(4, 32):
        try: os.fstat(number)
        except OSError: continue
        return "through"
    raise OSError
"""
_BURN = "while time.process_time() < 1.8: pass"

PROBES: dict[str, Probe] = {
    "reads a file": Probe(("landlock",), "open('@MARKER@').read()", ("raised", "PermissionError")),
    "appends to a file": Probe(
        ("landlock",), "open('@MARKER@', 'a').close()", ("raised", "PermissionError")
    ),
    "lists a directory": Probe(("landlock",), "os.listdir('/')", ("raised", "PermissionError")),
    "opens a socket": Probe(("seccomp",), _SOCKET, ("raised", "PermissionError")),
    "asks for a signal": Probe(("seccomp",), "os.kill(os.getpid(), 0)", ("raised", "PermissionError")),
    "changes a mode": Probe(("seccomp",), "os.chmod('.', 0o700)", ("raised", "PermissionError")),
    # Root is exempt from RLIMIT_NPROC, everybody else is refused by either.
    "forks": Probe(("seccomp", "NPROC"), _FORK, ("raised", None)),
    "shares a session": Probe(
        ("session",), "if os.getpgrp() == os.getpid(): raise OSError", ("raised", "OSError")
    ),
    "reads the environment": Probe(("environment",), f"os.environ['{MARKER}']", ("raised", "KeyError")),
    # Not handed on to the runner, and closed in the program.
    "reads an open file": Probe(
        ("inheritance", "descriptors"), "os.pread(@OPEN@, 1, 0)", ("raised", "OSError")
    ),
    "finds the runner's pipes": Probe(("descriptors",), _DESCRIPTORS, ("raised", "OSError")),
    "takes memory": Probe(("AS",), "bytearray(410 << 20)", ("memory", "MemoryError")),
    "writes a long file": Probe(
        ("FSIZE",), "open('a', 'wb', 0).write(bytes(110)) == 110 or os.abort()", ("killed", None)
    ),
    "opens many files": Probe(("NOFILE",), "[os.dup(0) for _ in range(40)]", ("raised", "OSError")),
    "raises CORE": _raising("CORE", 4096),
    "raises MEMLOCK": _raising("MEMLOCK", 4096),
    "raises MSGQUEUE": _raising("MSGQUEUE", 4096),
    "raises SIGPENDING": _raising("SIGPENDING", 8),
    "raises STACK": _raising("STACK", 1 << 24),
    "prints": Probe(("output",), "print('x' * 20, flush=True)", ("output", "")),
    "makes files": Probe(("disk",), _DISK, ("output", "")),
    "takes its time": Probe(("wall clock",), "time.sleep(1.8)", ("timeout", ""), HASTY),
    # The kernel's limit is for a program whose runner was killed; both end it.
    "computes": Probe(("wall clock", "CPU"), _BURN, ("timeout", ""), HASTY),
}  # fmt: skip


def program(body: str, **values: object) -> str:
    """Returns a probe as a program."""
    for name, value in values.items():
        body = body.replace(f"@{name}@", str(value))
    return f"import os, time\ndef solution():\n    {body.strip()}\n    return 'through'\n"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A file outside, a descriptor of it that children may inherit, and a variable."""
    monkeypatch.setenv(MARKER, "secret")
    path = tmp_path / "marker"
    path.write_text("secret")
    with path.open() as file:
        number = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD, 20)
        try:
            yield {"MARKER": path, "OPEN": number}
        finally:
            os.close(number)


def weaken(monkeypatch: pytest.MonkeyPatch, *layers: str) -> None:
    """Takes layers away from the sandboxes that start from now on."""
    parts = [WITHOUT[layer] for layer in layers if layer in WITHOUT]
    monkeypatch.setattr(pool, "BOOTSTRAP", _START.replace("@WITHOUT@", "\n".join(parts)))
    for layer in layers:
        if layer in WITHOUT_HERE:
            WITHOUT_HERE[layer](monkeypatch)


def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens sandboxes without the trial program, which would notice that a layer is gone."""
    monkeypatch.setattr(Sandbox, "tried", lambda _, runner: runner.layers())


def ran(limits: Limits, *programs: str) -> Ran:
    """Returns what came of the last one of these programs in a sandbox of their own."""
    with Sandbox(limits, 1, False, without=("namespaces",)) as sandbox:
        return sandbox.run(programs)[-1]


@pytest.fixture(scope="module")
def whole() -> Iterator[Callable[[Limits, Sequence[str]], Ran]]:
    """Runs programs with every layer but namespaces, in one sandbox for each set of limits."""
    opened: dict[Limits, Sandbox] = {}

    def run(limits: Limits, programs: Sequence[str]) -> Ran:
        if limits not in opened:
            opened[limits] = Sandbox(limits, 1, False, without=("namespaces",)).__enter__()
        return opened[limits].run(programs)[-1]

    yield run
    for sandbox in opened.values():
        sandbox.__exit__(None, None, None)


def assert_through(found: Ran) -> None:
    """Asserts that nothing refused a probe."""
    assert (found.status, found.value) == ("ok", "through")


def assert_refused(found: Ran, probe: Probe) -> None:
    """Asserts that a probe ended as its layer ends it."""
    status, kind = probe.refused
    assert (found.status, found.value) == (status, "")
    assert kind in (None, found.kind)


def _can_show(layers: Sequence[str]) -> None:
    """Skips where this machine's own limit would refuse the probe as well."""
    for layer in layers:
        own = getattr(resource, f"RLIMIT_{layer}", None)
        if own is not None and resource.getrlimit(own)[1] == 0:
            pytest.skip(f"here RLIMIT_{layer} is 0 for everybody")


_PAIRS = [(name, layer) for name, probe in PROBES.items() for layer in probe.layers]


@pytest.mark.parametrize("name", PROBES)
def test_a_layer_refuses_its_probe(
    name: str,
    whole: Callable[[Limits, Sequence[str]], Ran],
    marker: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole sandbox refuses a probe; without that layer, and only without it, it succeeds."""
    probe = PROBES[name]
    _can_show(probe.layers)
    source = program(probe.body, **marker)
    assert_refused(whole(probe.limits, [source]), probe)
    weaken(monkeypatch, *probe.layers)
    untried(monkeypatch)
    assert_through(ran(probe.limits, source))


@pytest.mark.parametrize(("name", "layer"), [p for p in _PAIRS if len(PROBES[p[0]].layers) > 1])
def test_of_two_layers_each_refuses_alone(
    name: str, layer: str, marker: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What two layers refuse is refused without either, but for root's processes."""
    weaken(monkeypatch, layer)
    untried(monkeypatch)
    found = ran(PROBES[name].limits, program(PROBES[name].body, **marker))
    if (name, layer) == ("forks", "seccomp") and _is_root_of_the_machine():
        assert_through(found)
    else:
        assert_refused(found, PROBES[name])


def _is_root_of_the_machine() -> bool:
    """Returns whether RLIMIT_NPROC does not hold for this process."""
    mapped = Path("/proc/self/uid_map").read_text().split()
    return not os.geteuid() and mapped[:2] == ["0", "0"]


def test_the_launch_here_takes_nothing_away(
    marker: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started as here, but whole, a sandbox passes its trial and refuses every probe."""
    weaken(monkeypatch)
    probes = [probe for probe in PROBES.values() if probe.limits is LIMITS]
    with Sandbox(LIMITS, 1, False, without=("namespaces",)) as sandbox:
        results = sandbox.run([program(probe.body, **marker) for probe in probes])
    for probe, found in zip(probes, results, strict=True):
        assert_refused(found, probe)


_SLEEPER = f"""
    child = os.fork()
    if child: return str(child)
    os.closerange(0, 64)
    time.sleep({SLEEP_S})
    os._exit(0)
"""


def test_nothing_else_ends_what_a_program_leaves_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that could fork would leave a process, as a sandbox without namespaces shows."""
    weaken(monkeypatch, "seccomp", "NPROC")
    untried(monkeypatch)
    found = ran(LIMITS, program(_SLEEPER))
    left = psutil.Process(int(found.value))
    try:
        assert left.status() != psutil.STATUS_ZOMBIE
    finally:
        left.kill()


_LEAVE, _FIND = "open('left', 'w').close()", "os.stat('left')"


@pytest.mark.parametrize("layers", [(), ("directory",)])
def test_a_directory_is_private_because_it_is_cleared(
    layers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next program finds a file of the one before only in a directory that is not cleared."""
    weaken(monkeypatch, *layers)
    untried(monkeypatch)
    found = ran(LIMITS, program(_LEAVE), program(_FIND))
    if layers:
        assert_through(found)
    else:
        assert (found.status, found.kind) == ("raised", "FileNotFoundError")


_WAIT = f"open('started', 'w').close(); time.sleep({SLEEP_S})"


@pytest.mark.parametrize("layers", [(), ("death signal",)])
def test_a_program_ends_with_its_runner_because_of_a_signal(
    layers: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the runner is killed, its program is gone at once, and sleeps on without the signal."""
    weaken(monkeypatch, *layers)
    untried(monkeypatch)
    with Sandbox(LIMITS, 1, False, without=("namespaces",), folder=tmp_path) as sandbox:
        [runner] = sandbox._runners
        runner.give(program(_WAIT).encode())
        while not list(tmp_path.glob("*/*/started")):
            assert runner._process.poll() is None
        keeper = psutil.Process(runner._process.pid)
        [server] = keeper.children()
        [asleep] = server.children()
        server.kill()
        psutil.wait_procs([server], timeout=60)
        if layers:
            assert asleep.is_running()
            asleep.kill()
        else:
            assert psutil.wait_procs([asleep], timeout=SLEEP_S / 2)[1] == []


@pytest.mark.parametrize("without", [(), ("namespaces",)])
def test_namespaces_hide_what_exists(without: tuple[str, ...], marker: dict[str, object]) -> None:
    """Whether a file exists can be asked without namespaces, not with them."""
    with Sandbox(LIMITS, 1, False, without=without) as sandbox:
        if not without and (reason := sandbox.layers.missing.get("namespaces")):
            pytest.skip(f"no namespaces here: {reason}")
        [found] = sandbox.run([program("os.stat('@MARKER@')", **marker)])
    if without:
        assert_through(found)
    else:
        assert (found.status, found.kind) == ("raised", "FileNotFoundError")


@pytest.mark.parametrize(
    ("layer", "noticed"),
    [
        ("seccomp", "failed: seccomp"),
        ("landlock", "failed: files landlock"),
        ("AS", "failed: rlimits"),
        ("STACK", "failed: rlimits"),
    ],
)
def test_the_trial_notices_a_missing_layer(
    layer: str, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that lacks what it says it has does not open."""
    weaken(monkeypatch, layer)
    with pytest.raises(UserError, match=rf"the trial ended ok str {noticed} "):
        ran(LIMITS)


def test_without_no_new_privs_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner notices; if it did not, the kernel would not lock it in."""
    if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        pytest.skip("here every process has no_new_privs")
    weaken(monkeypatch, "no_new_privs")
    with pytest.raises(UserError, match="did not start: OSError: no_new_privs is not set"):
        ran(LIMITS)
    weaken(monkeypatch, "no_new_privs", "powerless")
    with pytest.raises(UserError, match="did not start: PermissionError"):
        ran(LIMITS)


_CLOSED = """
    os.close(os.open("closed", os.O_CREAT | os.O_WRONLY, 0))
    open("closed").close()
"""
_CHROOT_AND_DAC_OVERRIDE = 1 << 18 | 1 << 1


@pytest.mark.parametrize("layers", [(), ("capabilities", "powerless")])
def test_without_capabilities_root_is_nobody(
    layers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modes bind a program of root's, unless it keeps its capabilities; then no runner starts."""
    if _capabilities() & _CHROOT_AND_DAC_OVERRIDE != _CHROOT_AND_DAC_OVERRIDE:
        pytest.skip("this user has no capabilities to give up")
    if layers:
        weaken(monkeypatch, layers[0])
        with pytest.raises(UserError, match="did not start: OSError: capabilities are left"):
            ran(LIMITS)
    weaken(monkeypatch, *layers)
    untried(monkeypatch)
    found = ran(LIMITS, program(_CLOSED))
    if layers:
        assert_through(found)
    else:
        assert (found.status, found.kind) == ("raised", "PermissionError")


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
