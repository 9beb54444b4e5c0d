"""Grades answers: their values, whether these are the gold ones, and their rewards.

Words are graded by pure functions; programs run in the sandbox; formulas are compared in a process
of their own. A ``Grader`` starts what its rules need and ends it.
"""

import builtins
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, get_args

from autodidact_contract.records import Problem, ReadReason
from autodidact_contract.stages.answers import Answers, Reward
from autodidact_worker.answers import reading
from autodidact_worker.answers.formulas import Formulas
from autodidact_worker.answers.reading import Read

if TYPE_CHECKING:
    from autodidact_worker.sandbox.pool import Layers, Ran


@dataclass(frozen=True)
class Grade:
    """An answer's value (None: none could be read), why, and whether it is the gold answer."""

    value: str | None
    reason: ReadReason
    correct: bool


class Sandbox(Protocol):
    """Whatever runs programs where they can do no harm: ``sandbox.pool.Sandbox``."""

    @property
    def layers(self) -> "Layers":
        """What separates programs from this machine."""

    def run(self, programs: Sequence[str]) -> "Sequence[Ran]":
        """Returns what came of each program, in order."""


MakeSandbox = Callable[[Answers], AbstractContextManager[Sandbox]]
"""Returns a sandbox that is open once it is entered."""


def _sandbox(rules: Answers) -> AbstractContextManager[Sandbox]:
    from autodidact_worker.sandbox.pool import Limits, Sandbox  # noqa: PLC0415 - programs only

    return Sandbox(limits=Limits(seconds=rules.program_seconds))


class Grader:
    """Grades answers by one rule set; a context manager.

    Args:
        rules: Rule set, kind of answer, and whether answers are words or programs.
        sandbox: Makes the sandbox for programs.
    """

    def __init__(self, rules: Answers, sandbox: MakeSandbox = _sandbox) -> None:
        self._rules = rules
        self._make_sandbox = sandbox
        self._sandbox: Sandbox | None = None
        self._formulas: Formulas | None = None
        self._reasons: Counter[str] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._rules.reasoning == "program":
            self._sandbox = self._stack.enter_context(self._make_sandbox(self._rules))
        if self._rules.latex and self._rules.kind == "text" and self._rules.rules == "robust":
            self._formulas = self._stack.enter_context(Formulas())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def beside(self, rules: Answers) -> "Grader":
        """Returns a grader by other rules with counts of its own, to be closed before this one.

        Their programs run in one sandbox, if they have the same limits: its runners are as many as
        there are processors.
        """
        shared = self._sandbox
        if shared is None or rules.program_seconds != self._rules.program_seconds:
            return Grader(rules, self._make_sandbox)
        return Grader(rules, lambda _: nullcontext(shared))

    def grade(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns the grade of each answer, given as the problem and what the model wrote.

        Programs of one call run side by side; equal ones run once. A gold answer that cannot be
        read makes its answers wrong.
        """
        grades = [
            self._grade(problem, read)
            for (problem, _), read in zip(items, self._read(items), strict=True)
        ]
        self._reasons.update(grade.reason for grade in grades)
        return grades

    def equal(self, gold: str, value: str) -> bool:
        """Returns whether a value is the gold value, both as they were read; also as a formula."""
        if reading.equal(gold, value, self._rules):
            return True
        return self._formulas is not None and self._formulas.equal(gold, value)

    def counts(self) -> dict[str, int]:
        """Returns how many answers had each reason so far, and what the sandbox lacks.

        ``read-<reason>``: answers, where any; ``sandbox-without-<layer>``: 1, and
        ``sandbox-missing``: how many such layers, where any; ``formulas-lost``: comparisons that
        hung or killed their process, where any.
        """
        found = {f"read-{reason}": self._reasons[reason] for reason in get_args(ReadReason)}
        if self._sandbox is not None:
            missing = self._sandbox.layers.missing
            found |= {f"sandbox-without-{layer}": 1 for layer in missing}
            found["sandbox-missing"] = len(missing)
        if self._formulas is not None:
            found["formulas-lost"] = self._formulas.lost
        return {name: count for name, count in found.items() if count}

    def _grade(self, problem: Problem, read: Read) -> Grade:
        gold = reading.read_gold(problem.answer, self._rules, problem.options).value
        correct = gold is not None and read.value is not None and self.equal(gold, read.value)
        return Grade(read.value, read.reason, correct)

    def _read(self, items: Sequence[tuple[Problem, str]]) -> list[Read]:
        if self._rules.reasoning == "language":
            return [
                reading.read_text(text, self._rules, problem.options) for problem, text in items
            ]
        assert self._sandbox is not None
        sources = [reading.program(problem.question, text, self._rules) for problem, text in items]
        distinct = list(dict.fromkeys(sources))
        ran = dict(zip(distinct, self._sandbox.run(distinct), strict=True))
        return [
            read_run(ran[source], self._rules, problem.options)
            for source, (problem, _) in zip(sources, items, strict=True)
        ]


def added(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Returns the sums of two graders' counts; of what a sandbox lacks the larger count."""
    lacking = {
        name: max(before.get(name, 0), now.get(name, 0))
        for name in (*before, *now)
        if name.startswith("sandbox-")
    }
    return {**(Counter(before) + Counter(now)), **lacking}


def read_run(ran: "Ran", rules: Answers, options: Sequence[str]) -> Read:
    """Returns the answer of a program that has run.

    Source: the published code's ``str(res)``, which makes the choice "none" of every program that
    failed. Departure: a program that had to be stopped, or that the sandbox refused what no
    arithmetic needs, has no value under either rule set.
    """
    if ran.status == "ok":
        return reading.read_result(ran.kind, ran.value, rules, options)
    failed = rules.rules == "rcCompat" and rules.kind != "number" and _is_mistake(ran)
    return Read("none" if failed else None, ran.status)


def _is_mistake(ran: "Ran") -> bool:
    if ran.status == "raised":
        error = getattr(builtins, ran.kind, None)
        return not (isinstance(error, type) and issubclass(error, OSError))
    return ran.status in ("no-solution", "no-value")


def reward(
    grade: Grade,
    finish: Literal["stop", "length"],
    config: Reward,
    kind: Literal["number", "choice", "text"],
) -> float:
    """Returns the terminal reward of an answer.

    Args:
        grade: What the answer was worth.
        finish: Whether the model ended it or it was cut.
        config: Partial reward and penalty.
        kind: What an answer is.

    Source: arXiv 2401.08967, section 3.1: 1, 0.1 or 0. ``missing_eos_penalty`` is ours.
    """
    partly = grade.value is not None and (config.partial_when == "always" or kind == "number")
    score = 1.0 if grade.correct else config.partial if partly else 0.0
    return score - (config.missing_eos_penalty if finish == "length" else 0.0)
