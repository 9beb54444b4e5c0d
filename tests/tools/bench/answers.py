"""Part ``answers``: what it costs to read and compare an answer, beside math-verify in process."""

import random
import time
from collections.abc import Callable

from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import reading
from tools.bench.figures import Figure, median

Equal = Callable[[str, str], bool]

PAIRS = 500
"""Different ones: math-verify remembers what it parsed last."""


def comparisons(repetitions: int) -> list[Figure]:
    """Measures microseconds per answer, a number behind a short chain of thought.

    Ours reads a completion and a gold answer and compares them; so does math-verify, which is given
    the answer alone.

    Args:
        repetitions: Of all pairs.
    """
    pairs = _pairs(random.Random(0))
    ways = {
        "robust": _ours(Answers(rules="robust", kind="number")),
        "rcCompat": _ours(Answers(rules="rcCompat", kind="number")),
        "math-verify": _peer(),
    }
    found = {
        name: median(f"answers.{name}", [_spent(pairs, way) for _ in range(repetitions)], "us")
        for name, way in ways.items()
    }
    ratio = found["robust"].value / found["math-verify"].value
    return [*found.values(), Figure(name="answers.ratio", value=ratio, unit="x")]


def _pairs(rng: random.Random) -> list[tuple[str, str]]:
    """Returns gold answers, and answers of which half are right."""
    golds = [f"{rng.randrange(1, 1_000_000) / rng.choice((1, 4, 100)):g}" for _ in range(PAIRS)]
    return [(gold, rng.choice((gold, f"{rng.randrange(1000)}"))) for gold in golds]


def _spent(pairs: list[tuple[str, str]], equal: Equal) -> float:
    """Returns microseconds per pair."""
    began = time.perf_counter()
    for gold, said in pairs:
        equal(gold, said)
    return (time.perf_counter() - began) / len(pairs) * 1e6


def _ours(rules: Answers) -> Equal:
    def equal(gold: str, said: str) -> bool:
        text = f"There are 3 boxes of 6 apples each, 3 * 6 = 18.{reading.TRIGGER}{said}"
        wanted, found = reading.read_gold(gold, rules).value, reading.read_text(text, rules).value
        return wanted is not None and found is not None and reading.equal(wanted, found, rules)

    return equal


def _peer() -> Equal:
    from math_verify import parse, verify  # noqa: PLC0415 - takes seconds

    return lambda gold, said: bool(verify(parse(gold), parse(said)))
