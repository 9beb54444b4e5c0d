from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from autodidact_contract.records import Problem
from autodidact_contract.stages.answers import Answers, Reward
from autodidact_worker.answers.grading import Grade, Grader, reward
from autodidact_worker.answers.reading import TRIGGER
from autodidact_worker.sandbox.pool import Layers, Ran

WORDS = Answers(rules="robust", kind="number")


PROGRAMS = Answers(rules="robust", kind="number", reasoning="program")


PUBLISHED_CHOICES = Answers(rules="rcCompat", kind="choice", reasoning="program")


def problem(answer: str, **more: Any) -> Problem:
    """A problem with a gold answer."""
    return Problem(id="q", question="How many?", prompt="p", target="t", answer=answer, **more)


class Results:
    """A sandbox that knows what came of programs, by their body."""

    layers = Layers(in_force=("seccomp",), missing={"namespaces": "not permitted"})

    def __init__(self, results: Mapping[str, Ran]) -> None:
        self.results = results
        self.ran: list[str] = []
        self.open = False

    def run(self, programs: Sequence[str]) -> list[Ran]:
        """Returns what was said of each."""
        assert self.open
        self.ran += programs
        return [self.results[text.rsplit('"""\n', 1)[1].strip()] for text in programs]

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open = False


def test_words_are_graded_and_counted() -> None:
    """Value, reason and correctness of each answer, and how many had which reason."""
    with Grader(WORDS) as grader:
        grades = grader.grade(
            [
                (problem("18"), f"so{TRIGGER}18 dollars"),
                (problem("18"), f"so{TRIGGER}19"),
                (problem("18"), "18"),
            ]
        )
        grader.grade([(problem("3/4"), f"so{TRIGGER}0.75")])
        assert grades == [
            Grade("18", "ok", correct=True),
            Grade("19", "ok", correct=False),
            Grade(None, "no-trigger", correct=False),
        ]
        assert grader.counts() == {"read-ok": 3, "read-no-trigger": 1}


def test_a_gold_answer_that_cannot_be_read_is_never_met() -> None:
    """Not even by itself."""
    with Grader(WORDS) as grader:
        [grade] = grader.grade([(problem("eighteen"), f"so{TRIGGER}18")])
    assert grade == Grade("18", "ok", correct=False)


def test_choices_are_graded_by_their_own_options() -> None:
    """The same text is an option of one question and none of another."""
    rules = Answers(rules="robust", kind="choice")
    asked = [problem("b", options=("a", "b")), problem("C", options=("C", "D"))]
    with Grader(rules) as grader:
        found = grader.grade([(one, f"so{TRIGGER}B") for one in asked])
    assert found == [Grade("b", "ok", correct=True), Grade(None, "not-an-option", correct=False)]


def test_programs_are_graded() -> None:
    """What they return is read; what came of the others is the reason; equal ones run once."""
    sandbox = Results(
        {
            "right": Ran(status="ok", kind="int", value="18"),
            "wrong": Ran(status="ok", kind="float", value="1.5"),
            "slow": Ran(status="timeout"),
            "empty": Ran(status="no-value", kind="none"),
        }
    )
    with Grader(PROGRAMS, lambda _: sandbox) as grader:
        bodies = ("right", "slow", "right", "wrong", "empty")
        grades = grader.grade([(problem("18"), f"    {body}") for body in bodies])
        assert grades == [
            Grade("18", "ok", correct=True),
            Grade(None, "timeout", correct=False),
            Grade("18", "ok", correct=True),
            Grade("1.5", "ok", correct=False),
            Grade(None, "no-value", correct=False),
        ]
        assert len(sandbox.ran) == 4
        assert grader.counts() == {
            "read-ok": 3,
            "read-timeout": 1,
            "read-no-value": 1,
            "sandbox-without-namespaces": 1,
            "sandbox-missing": 1,
        }
    assert not sandbox.open


def test_graders_beside_each_other_share_a_sandbox() -> None:
    """Each counts its own answers; other limits are another sandbox; words need none."""
    made: list[Results] = []

    def sandbox(_: Answers) -> Results:
        made.append(Results({"right": Ran(status="ok", kind="int", value="18")}))
        return made[-1]

    slower = PROGRAMS.model_copy(update={"program_seconds": PROGRAMS.program_seconds + 1})
    with Grader(PROGRAMS, sandbox) as grader:
        with grader.beside(PROGRAMS) as examiner, grader.beside(WORDS):
            examiner.grade([(problem("18"), "    right")])
            assert examiner.counts()["read-ok"] == 1
            assert examiner.counts()["sandbox-missing"] == 1
            assert "read-ok" not in grader.counts()
            assert len(made) == 1
        assert made[0].open
        with grader.beside(slower):
            assert len(made) == 2
    with Grader(WORDS, sandbox) as grader, grader.beside(PROGRAMS):
        assert len(made) == 3
    assert not any(one.open for one in made)


BODIES: Mapping[str, tuple[bool, bool]] = {
    "return 18": (True, True),
    "return 18.0": (True, True),
    "import fractions\n    return fractions.Fraction(36, 2)": (True, True),
    "return sympy.Integer(18)": (True, True),
    "return '18'": (True, True),
    "return math.floor(18.2)": (True, True),
    "return '$18'": (False, True),
    "return None": (False, False),
    "return [18]": (False, False),
    "return 18 + 0j": (False, False),
    "return 10 ** 400": (False, False),
    "return 1 / 0": (False, False),
    "return 18)": (False, False),
    "while True: pass": (False, False),
    "x = 18\n\n    return x": (False, True),
    "print('x' * 10 ** 8)\n    return 18": (False, False),
    "import os\n    os.fork()\n    return 18": (False, False),
    "import socket\n    socket.socket()\n    return 18": (False, False),
    "open('{outside}', 'w').write('x')\n    return 18": (False, False),
    "return 6 * 3": (True, True),
}
"""Bodies of programs, and whether each answers 18 under rcCompat and under robust."""


@pytest.mark.training
@pytest.mark.parametrize("rules", ["rcCompat", "robust"])
def test_programs_that_run(rules: Any, tmp_path: Path) -> None:
    """In the real sandbox: honest ones are right, the others earn nothing and stop nothing."""
    outside = tmp_path / "outside"
    wanted = {
        body.replace("{outside}", str(outside)): both[rules == "robust"]
        for body, both in BODIES.items()
    }
    config = Answers(rules=rules, kind="number", reasoning="program", program_seconds=2)
    asked = problem("18").model_copy(update={"question": 'A "quoted"\n\n\\d'})
    with Grader(config) as grader:
        grades = grader.grade([(asked, f"    {body}") for body in wanted])
        assert grader.counts()["read-timeout"] == 1
    found = dict(zip(wanted, grades, strict=True))
    assert {body: grade.correct for body, grade in found.items()} == wanted
    assert all(grade.value is None for body, grade in found.items() if not wanted[body])
    assert not outside.exists()


@pytest.mark.parametrize(
    ("ran", "value"),
    [
        (Ran(status="raised", kind="ZeroDivisionError"), "none"),
        (Ran(status="raised", kind="SyntaxError"), "none"),
        (Ran(status="raised", kind="MadeUpError"), "none"),
        (Ran(status="no-solution", kind="NoneType"), "none"),
        (Ran(status="no-value", kind="none"), "none"),
        (Ran(status="raised", kind="PermissionError"), None),
        (Ran(status="raised", kind="FileNotFoundError"), None),
        (Ran(status="timeout"), None),
        (Ran(status="memory", kind="MemoryError"), None),
        (Ran(status="output"), None),
        (Ran(status="killed", kind="SIGSYS"), None),
    ],
)
def test_failed_programs_choose_none_as_published(ran: Ran, value: str | None) -> None:
    """Unless they were stopped or refused something: hostile programs earn nothing."""
    with Grader(PUBLISHED_CHOICES, lambda _: Results({"body": ran})) as grader:
        [grade] = grader.grade([(problem("b"), "body")])
    assert grade == Grade(value, ran.status, correct=False)


NUMERIC = Reward(partial=0.1, partial_when="numeric")


ALWAYS = Reward(partial=0.1, partial_when="always", missing_eos_penalty=0.25)


RIGHT, WRONG, NONE = (
    Grade("1", "ok", correct=True),
    Grade("2", "ok", correct=False),
    Grade(None, "empty", correct=False),
)


@pytest.mark.parametrize(
    ("grade", "finish", "config", "kind", "expected"),
    [
        (RIGHT, "stop", NUMERIC, "number", 1.0),
        (WRONG, "stop", NUMERIC, "number", 0.1),
        (NONE, "stop", NUMERIC, "number", 0.0),
        (RIGHT, "stop", NUMERIC, "choice", 1.0),
        (WRONG, "stop", NUMERIC, "choice", 0.0),
        (WRONG, "stop", NUMERIC, "text", 0.0),
        (WRONG, "stop", ALWAYS, "choice", 0.1),
        (NONE, "stop", ALWAYS, "choice", 0.0),
        (RIGHT, "length", NUMERIC, "number", 1.0),
        (RIGHT, "length", ALWAYS, "number", 0.75),
        (NONE, "length", ALWAYS, "number", -0.25),
    ],
)
def test_reward(grade: Grade, finish: Any, config: Reward, kind: Any, expected: float) -> None:
    """1 for right, the partial reward where it applies, less the penalty for answers cut off."""
    assert reward(grade, finish, config, kind) == pytest.approx(expected, abs=1e-12)


def test_texts_are_compared_as_formulas_where_asked() -> None:
    """Only what differs as text; and votes can use the same equality."""
    rules = Answers(rules="robust", kind="text", latex=True)
    with Grader(rules) as grader:
        right, wrong, plain = grader.grade(
            [
                (problem(r"\frac{3}{4}"), f"so{TRIGGER}$0.75$"),
                (problem(r"\frac{3}{4}"), f"so{TRIGGER}0.76"),
                (problem("New York"), f"so{TRIGGER}new york"),
            ]
        )
        assert (right.correct, wrong.correct, plain.correct) == (True, False, True)
        assert grader.equal("x+1", "1+x")
        assert grader.counts() == {"read-ok": 3}
