"""Compares formulas by math-verify, which runs in a process of its own.

math-verify interrupts itself by SIGALRM, which needs a main thread, and what a model writes can
keep sympy busy, in one C call, until it has no memory left. So a child compares, one pair at a time,
with nothing in its environment and limits on time and memory; one that hangs or dies is replaced
and its pair counts as different. Only LaTeX is parsed: sympy's own parser evaluates text as Python.

``python -m autodidact_worker.answers.formulas`` is the child: a JSON list of two texts a line in, ``true`` or
``false`` a line out.
"""

import json
import math
import os
import resource
import select
import subprocess
import sys
from functools import lru_cache
from types import TracebackType
from typing import Self

from autodidact_worker.runtime.errors import StageError

MAX_CHARACTERS = 1000
"""Of one text; longer ones are no formulas."""

_START_SECONDS = 120
_MEMORY_BYTES = 2 << 30
_READY = b"ready\n"
_REMEMBERED = 1 << 16


class Formulas:
    """A comparer of formulas; its process starts with the first question to it.

    Not symmetric, as math-verify is not: the first text is the gold answer. Equal pairs of texts
    are compared once. Not for several threads.

    Args:
        seconds: Wall clock limit of one comparison; what takes longer is different.

    Attributes:
        lost: Comparisons that hung or killed their process.
    """

    def __init__(self, seconds: int = 8) -> None:
        self.lost = 0
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._remembered = lru_cache(_REMEMBERED)(self._ask)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def equal(self, gold: str, text: str) -> bool:
        """Returns whether a text is the gold formula written in another way.

        Two texts of letters alone are never asked about: math-verify takes a word for the product
        of its letters, so that "listen" would be "silent".

        Raises:
            StageError: ``FormulasUnavailable``: the process cannot be started.
        """
        if max(len(gold), len(text)) > MAX_CHARACTERS or (_is_prose(gold) and _is_prose(text)):
            return False
        return self._remembered(gold, text)

    def _ask(self, gold: str, text: str) -> bool:
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps([gold, text]).encode() + b"\n")
            answer = _line(child, self._seconds)
        except BrokenPipeError:
            answer = b""
        if not answer:
            self.lost += 1
            self._end()
        return answer == b"true\n"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # Where modules are is all that it may know of this process.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        if _line(self._child, _START_SECONDS) != _READY:
            self._end()
            raise StageError(
                "FormulasUnavailable",
                "the process that compares formulas did not start: python -m "
                f"{__name__} must import math_verify; see whether the image has it, or memory for it",
            )
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            with self._child:  # closes the pipes and waits
                self._child = None


def _line(child: subprocess.Popen[bytes], seconds: int) -> bytes:
    """Returns the child's next line; nothing where it died or did not answer in time."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], seconds)
    # Lines are a few bytes and written at once.
    return child.stdout.readline() if ready else b""


def _is_prose(text: str) -> bool:
    return all(letter.isalpha() or letter.isspace() for letter in text)


# The child.


def _serve(seconds: int) -> None:
    """Answers until its input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb", 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # libraries may print
    from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415 - takes seconds

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    answers.write(_READY)
    # Three steps with a limit each, so that most of what is slow ends without ending the process.
    limit = max(1, seconds // 4)
    config = [LatexExtractionConfig()]
    for line in questions:
        _limit_cpu(seconds)
        gold, text = (
            parse(_marked(side), config, parsing_timeout=limit) for side in json.loads(line)
        )
        same = gold and text and verify(gold, text, timeout_seconds=limit)
        answers.write(b"true\n" if same else b"false\n")


def _limit_cpu(seconds: int) -> None:
    """Lets this process end by itself should it hang after its parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime) + 2 * seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _marked(text: str) -> str:
    """Returns a text that math-verify takes for LaTeX as a whole, if it does not say so itself."""
    text = text.strip("$# \n")
    marks = ("$", r"\boxed", r"\(", r"\[")
    return text if any(mark in text for mark in marks) else f"${text}$"


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
