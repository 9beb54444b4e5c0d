import os
from collections.abc import Iterator

import pytest

from autodidact_worker.answers.formulas import MAX_CHARACTERS, Formulas
from autodidact_worker.runtime.errors import StageError

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def formulas() -> Iterator[Formulas]:
    """One comparing process for all: it takes seconds to start."""
    with Formulas(seconds=60) as formulas:
        yield formulas


@pytest.mark.parametrize(
    ("gold", "text", "same"),
    [
        (r"\frac{1}{2}", "0.5", True),
        ("0.5", r"\boxed{\frac{1}{2}}", True),
        ("1000", "1,000", True),
        ("x^2+2x+1", "(x+1)^2", True),
        (r"\{1,2\}", r"\{2,1\}", True),
        (r"\sqrt{8}", r"$2\sqrt{2}$", True),
        ("5", "#### 5", True),
        ("1/3", "0.333333", True),
        ("0.1", r"10\%", True),
        ("2", "3", False),
        ("(1,2)", "(2,1)", False),
        (r"\pi", "3.14159", False),
        ("1", r"\frac{", False),
        ("", "", False),
        ("listen", "silent", False),
        ("1+1", "__import__('os').system('exit 2')", False),
    ],
)
def test_formulas(formulas: Formulas, gold: str, text: str, same: bool) -> None:
    """Other ways to write the same are equal; texts that are no formulas equal nothing."""
    assert formulas.equal(gold, text) is same


def test_a_long_text_is_no_formula(formulas: Formulas) -> None:
    """It is refused before the process sees it."""
    assert not formulas.equal("1", "+".join("1" * MAX_CHARACTERS))
    assert formulas.lost == 0


def test_the_comparing_process_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the worker's environment but where modules are; and it is the same next time."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Formulas(seconds=60) as formulas:
        assert formulas.equal("a+b", "b+a")
        first = formulas._child
        assert first is not None
        with open(f"/proc/{first.pid}/environ", "rb") as file:  # noqa: PTH123 - no path of ours
            names = {entry.split(b"=")[0] for entry in file.read().split(b"\0") if entry}
        assert names <= {b"PYTHONPATH", b"OMP_NUM_THREADS"}
        assert formulas.equal("a-b", "-b+a")
        assert formulas._child is first
    assert first.returncode is not None


def test_a_comparing_process_that_hangs_or_dies_is_replaced() -> None:
    """Its pair counts as different, and the next one is compared."""
    with Formulas(seconds=60) as formulas:
        assert formulas.equal("a+b", "b+a")
        assert formulas._child is not None
        os.kill(formulas._child.pid, 19)  # SIGSTOP: it will not answer
        formulas._seconds = 0
        assert not formulas.equal("a-b", "-b+a")
        assert formulas.lost == 1
        formulas._seconds = 60
        assert formulas.equal("a+c", "c+a")
        formulas._child.kill()
        formulas._child.wait()
        assert formulas.equal("a+d", "d+a")
        assert formulas.lost == 1


def test_no_comparing_process_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be started, and what to look for."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    with Formulas() as formulas, pytest.raises(StageError, match="must import math_verify"):
        formulas.equal("a+b", "b+a")
