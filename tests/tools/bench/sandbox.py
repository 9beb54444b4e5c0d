"""Part ``sandbox``: honest programs per second, beside a plain interpreter for each of them."""

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from autodidact_worker.sandbox.pool import Sandbox
from tools.bench.figures import Figure, median

_BODIES = (
    "eggs = {a}\n    eaten = 3\n    baked = 4\n    return (eggs - eaten - baked) * 2",
    "bolts = {a}\n    half = bolts / 2\n    return bolts + half",
    "price = {a} * 1000\n    repairs = 50000\n    value = price * 2.5\n    return value - price - repairs",
    "total = 0\n    for day in range(7):\n        total += {a} * day\n    return total",
    "glasses = [5 if n % 2 == 0 else 5 * 0.6 for n in range({a})]\n    return sum(glasses)",
    "rate = 0.07\n    years = 3\n    money = {a} * (1 + rate) ** years\n    return round(money, 2)",
    "distance = {a} * 3\n    hours = math.ceil(distance / 45)\n    return hours",
    "ages = {{'Ann': {a}, 'Bob': {a} * 2}}\n    return sum(ages.values()) / len(ages)",
    "x = sympy.symbols('x')\n    return sympy.solve(sympy.Eq(3 * x + {a}, 7 * {a}), x)[0]",
    "total = sympy.Rational({a}, 3) + 2\n    return sympy.simplify(total)",
)
"""Bodies as models write them for word problems; two of ten use sympy."""
_PROGRAMS = 400
_PLAIN = 20


def programs(repetitions: int) -> list[Figure]:
    """Measures the sandbox on all processors, warm, and plain interpreters likewise.

    Args:
        repetitions: Of both, taken in turns.
    """
    sources = list(itertools.islice(_sources(), _PROGRAMS))
    rates, plain = [], []
    with Sandbox() as sandbox:
        for _ in range(repetitions):
            rates.append(_rate(lambda: sandbox.run(sources), len(sources)))
            plain.append(_rate(lambda: _run_plainly(sources[:_PLAIN]), _PLAIN))
        failed = [ran for ran in sandbox.run(sources) if ran.status != "ok"]
    if failed:
        raise RuntimeError(f"honest programs failed: {failed[:3]}")
    ratio = statistics.median(rates) / statistics.median(plain)
    return [
        median("sandbox.programs", rates, "programs/s", ">= 200"),
        median("sandbox.plain-python", plain, "programs/s"),
        Figure(name="sandbox.ratio", value=ratio, unit="x"),
    ]


def _sources() -> Iterator[str]:
    for number in itertools.count(12):
        for body in _BODIES:
            yield f"def solution():\n    {body.format(a=number)}\n"


def _rate(work: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def _run_plainly(sources: list[str]) -> None:
    """Starts an isolated interpreter for each program, as many at a time as processors."""

    def run(source: str) -> None:
        text = f"import math\nimport sympy\n{source}print(solution())"
        subprocess.run([sys.executable, "-I", "-c", text], check=True, capture_output=True)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(run, sources))
