"""What a sandbox returns, what it refuses, and what is left of it."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autodidact_worker.runtime.errors import StageError, UserError
from autodidact_worker.sandbox import pool, probe
from autodidact_worker.sandbox.pool import NUMERIC, Layers, Limits, Ran, Sandbox

pytestmark = pytest.mark.training

PATIENT = Limits(seconds=60.0)
_WORKER = """
import sys
from pathlib import Path
from autodidact_worker.sandbox.pool import Sandbox
with Sandbox(workers=1, without=("namespaces",), folder=Path(sys.argv[1])) as sandbox:
    print("ready", flush=True)
    sandbox.run(["import time, os; os.mkdir('left'); time.sleep(1000)"])
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox as most pods have it."""
    with Sandbox(PATIENT, 2, False, without=("namespaces",)) as opened:
        yield opened


def returning(expression: str) -> str:
    """Returns a program with that result."""
    return f"from fractions import Fraction\nfrom decimal import Decimal\ndef solution():\n    return {expression}\n"


def short(ran: Ran) -> tuple[str, str, str]:
    """Returns what a test compares."""
    return ran.status, ran.kind, ran.value


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("18", "int", "18"),
        ("-7 // 2", "int", "-4"),
        ("2**70", "int", "1180591620717411303424"),
        ("18.0", "float", "18.0"),
        ("0.1 + 0.2", "float", "0.30000000000000004"),
        ("float('nan')", "float", "nan"),
        ("-math.inf", "float", "-inf"),
        ("True", "bool", "1.0"),
        ("Fraction(36, 2)", "fraction", "18.0"),
        ("Fraction(1, 3)", "fraction", "0.3333333333333333"),
        ("Decimal('1.10')", "number", "1.1"),
        ("sympy.Integer(18)", "int", "18"),
        ("sympy.Rational(1, 3)", "fraction", "0.3333333333333333"),
        ("sympy.Float(2.5)", "float", "2.5"),
        ("sympy.pi", "number", "3.141592653589793"),
        ("sympy.solve(sympy.Symbol('x') * 2 - 84)[0]", "int", "42"),
        ("sympy.Symbol('x') + 1", "sympy", "x + 1"),
        ("'18'", "str", "18"),
        ("'b'", "str", "b"),
        ("' 1,000 \\u2212'", "str", " 1,000 \u2212"),
    ],
)
def test_values(sandbox: Sandbox, expression: str, kind: str, value: str) -> None:
    """A result keeps its kind, and a number the value that float() gives it."""
    assert short(sandbox.run([returning(expression)])[0]) == ("ok", kind, value)
    if kind in NUMERIC:
        float(value)


@pytest.mark.parametrize(
    ("expression", "status", "kind"),
    [
        ("None", "no-value", "none"),
        ("[18]", "no-value", "list"),
        ("(18,)", "no-value", "tuple"),
        ("{}", "no-value", "dict"),
        ("18 + 0j", "no-value", "complex"),
        ("object()", "no-value", "other"),
        ("10**309", "no-value", "int"),
        ("1 / 0", "raised", "ZeroDivisionError"),
        ("[0] * 10**10", "memory", "MemoryError"),
        ("'x' * 10**5", "output", "str"),
        ("print('x' * 10**5)", "output", ""),
    ],
)
def test_no_values(sandbox: Sandbox, expression: str, status: str, kind: str) -> None:
    """What is no answer says why."""
    ran = sandbox.run([returning(expression)])[0]
    assert (ran.status, ran.value) == (status, "")
    assert ran.kind == kind or status == "output"


def test_results_are_in_order_and_may_be_none(sandbox: Sandbox) -> None:
    """Results come in the order of the programs, and no programs have none."""
    ran = sandbox.run([returning(str(number)) for number in range(40)])
    assert [result.value for result in ran] == [str(number) for number in range(40)]
    assert sandbox.run([]) == []


def test_a_program_may_write_in_its_directory_and_the_next_finds_it_empty(sandbox: Sandbox) -> None:
    """What a program writes is there for itself alone."""
    write = "def solution():\n    open('a', 'w').write('7')\n    return int(open('a').read())\n"
    look = "import os\ndef solution():\n    return len(os.listdir('.'))\n"
    assert [ran.value for ran in sandbox.run([write, look] * 4)] == ["7", "0"] * 4


def test_the_same_program_has_the_same_answer(sandbox: Sandbox) -> None:
    """Random numbers and the order of sets do not differ between programs and runners."""
    source = returning("str(__import__('random').random()) + str({'a', 'b', 'c', 'd', 'e'})")
    assert len({ran.value for ran in sandbox.run([source] * 8)}) == 1


def test_programs_know_nothing_of_each_other(sandbox: Sandbox) -> None:
    """What a program changes in shared modules is unchanged for the next one."""
    change = "math.pi = 3\ndef solution():\n    return math.pi\n"
    assert [ran.value for ran in sandbox.run([change, returning("math.pi")] * 3)] == [
        "3",
        "3.141592653589793",
    ] * 3


def test_the_limits_are_those_given() -> None:
    """Time, output, text and address space end where the settings say."""
    limits = Limits(seconds=2.0, memory_bytes=400 << 20, output_bytes=10, source_bytes=200)
    programs = [
        "def solution():\n    while True: pass",
        "def solution():\n    print('12345678901', flush=True)",
        "def solution():\n    print('123456789', flush=True)\n    return 1",
        "def solution():\n    return len(bytearray(500 << 20))",
        "def solution():\n    return len(bytearray(100 << 20))",
        "#" * 201,
    ]
    with Sandbox(limits, 2, False, without=("namespaces",)) as small:
        ran = small.run(programs)
    statuses = [result.status for result in ran]
    assert statuses == ["timeout", "output", "ok", "memory", "ok", "raised"]
    assert ran[0].seconds >= 2.0
    assert ran[5].kind == "SourceTooLong"


def test_a_lost_runner_is_replaced() -> None:
    """When a runner is killed, its program is, and the next ones run."""
    children = psutil.Process().children()
    with Sandbox(PATIENT, 1, False, without=("namespaces",)) as alone:
        mine = [child for child in psutil.Process().children() if child not in children]
        for process in (*mine, *mine[0].children()):
            process.kill()
        ran = alone.run([returning("1"), returning("2"), returning("3")])
    assert [short(result) for result in ran] == [
        ("killed", "", ""),
        ("ok", "int", "2"),
        ("ok", "int", "3"),
    ]


def test_a_hung_runner_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a runner does not answer in time, its program has timed out, and the next ones run."""
    children = psutil.Process().children()
    with Sandbox(Limits(seconds=1.0), 1, False, without=("namespaces",)) as alone:
        monkeypatch.setattr(pool, "GRACE_S", 1.0)
        mine = [child for child in psutil.Process().children() if child not in children]
        for process in mine[0].children():
            process.suspend()
        assert short(alone.run([returning("1")])[0]) == ("timeout", "", "")
        monkeypatch.undo()
        assert short(alone.run([returning("2")])[0]) == ("ok", "int", "2")


def test_nothing_is_left_when_the_worker_is_killed(tmp_path: Path) -> None:
    """After kill -9 of the worker its runner kills the program and removes what there was."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    while not list(tmp_path.glob("*/*/left")):
        assert worker.poll() is None
    runners = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert psutil.wait_procs(runners, timeout=60)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_a_closed_sandbox_leaves_nothing_and_runs_nothing(tmp_path: Path) -> None:
    """Closing ends the runners and removes their directories; running is refused then."""
    before = psutil.Process().children(recursive=True)
    with Sandbox(PATIENT, 1, False, folder=tmp_path) as closed:
        pass
    assert psutil.Process().children(recursive=True) == before
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="with statement"):
        closed.run([])


# What is in force.


def test_layers_in_force_and_missing(sandbox: Sandbox) -> None:
    """What was left out is missing, with the reason, and the rest was found at work."""
    assert {"no_new_privs", "capabilities", "rlimits", "seccomp"} <= set(sandbox.layers.in_force)
    assert sandbox.layers.missing == {"namespaces": "switched off"}


@pytest.mark.parametrize("without", [("seccomp",), ("landlock", "namespaces")])
def test_it_fails_closed(without: tuple[str, ...], tmp_path: Path) -> None:
    """Without a filter, or with nothing that keeps files away, no program is run."""
    sandbox = Sandbox(PATIENT, 1, False, without=without, folder=tmp_path)
    with pytest.raises(UserError, match=f"missing here: {without[0]}.*use nodes with") as raised:
        sandbox.__enter__()
    assert raised.value.reason == "SandboxUnavailable"
    assert list(tmp_path.iterdir()) == []


def test_required_demands_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the profile requires the sandbox, a missing layer refuses, and says which."""
    monkeypatch.setenv("AUTODIDACT_SANDBOX", "required")
    with (
        pytest.raises(UserError, match=r"required in full, but lacks namespaces \(switched off\)"),
        Sandbox(PATIENT, 1, without=("namespaces",)),
    ):
        pass


def test_the_trial_notices_what_is_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    """The trial fails for a layer that is not in force, and for a file that can be read."""
    beside = tmp_path / "beside"
    beside.touch()
    host = platform.node()
    programs = [
        probe.source(str(beside), host, ["landlock-7", "seccomp", "rlimits"]),
        probe.source(str(beside), host, ["namespaces", "seccomp"]),
        probe.source(os.__file__, host, ["seccomp"]),
    ]
    assert [ran.value for ran in sandbox.run(programs)] == [
        probe.PASSED,
        "failed: namespaces",
        "failed: files",
    ]


def test_a_failed_trial_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox whose trial fails does not open."""
    monkeypatch.setattr(probe, "PASSED", "something else")
    with (
        pytest.raises(UserError, match="the trial ended ok str failed:"),
        Sandbox(PATIENT, 1, False, without=("namespaces",)),
    ):
        pass


def test_a_slow_start_is_worth_another_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine may be busy: the stage is retried, and nothing is left of the runner."""
    monkeypatch.setattr(pool, "START_S", 0.0)
    sandbox = Sandbox(PATIENT, 1, False, without=("namespaces",), folder=tmp_path)
    with pytest.raises(StageError, match="was not ready after 0 s; another attempt") as raised:
        sandbox.__enter__()
    assert (raised.value.code, raised.value.reason) == ("retry", "SandboxNotStarted")
    assert list(tmp_path.iterdir()) == []


def test_a_trial_out_of_time_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing about the machine's layers."""
    monkeypatch.setattr(probe, "source", lambda *_: "while True: pass")
    with (
        pytest.raises(StageError, match="lost at its trial") as raised,
        Sandbox(Limits(seconds=0.5), 1, False, without=("namespaces",)),
    ):
        pass
    assert raised.value.code == "retry"


def test_what_any_runner_lacks_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two runners, and the successor of one, count as the last one does."""
    full, less = (
        Layers(in_force=("landlock-7", "seccomp")),
        Layers(in_force=("seccomp",), missing={"landlock": "lost"}),
    )
    found = [less, full, Layers(in_force=("landlock-7",), missing={"rlimits": "gone"})]
    monkeypatch.setattr(Sandbox, "tried", lambda *_: found.pop(0))
    with Sandbox(PATIENT, 2, False, without=("namespaces",)) as two:
        assert two.layers == less
        two._replace(two._runners[0])
        assert two.layers == Layers(missing={"landlock": "lost", "rlimits": "gone"})


def test_the_kernel_ends_runners_first() -> None:
    """Where memory runs out, not the training that waits for them."""
    before = psutil.Process().children(recursive=True)
    with Sandbox(PATIENT, 1, False, without=("namespaces",)):
        mine = [p for p in psutil.Process().children(recursive=True) if p not in before]
        scores = {Path(f"/proc/{process.pid}/oom_score_adj").read_text() for process in mine}
    assert "1000\n" in scores
    assert Path("/proc/self/oom_score_adj").read_text() != "1000\n"
