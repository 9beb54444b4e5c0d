"""Parts ``gap`` and ``throughput``: what the operator costs between stages, and how many it moves.

Scripted pods publish manifests like a worker, so the operator's reading of them is included.
"""

from collections.abc import Iterator
from pathlib import Path

from tools.bench.figures import MEGABYTE, Figure, median, percentiles
from tools.bench.plane import JOBS_PER_RUN, Plane, started

DELAY_S = 0.05
"""How long a scripted pod works: a stage takes about 0.1 s then, all of it the control plane's."""


async def gap(repetitions: int) -> list[Figure]:
    """One run at a time on an idle cluster.

    Args:
        repetitions: Runs; the first is not counted, caches are cold then.
    """
    async with started(delay_s=DELAY_S) as plane:
        idle = plane.rss[-1]
        await plane.run("warm-up", 1)
        gaps, writes = [], []
        for number in range(repetitions):
            await plane.run(f"gap-{number}", 1)
            gaps += plane.gaps(f"gap-{number}")
            writes.append(plane.writes_per_job(f"gap-{number}", 1))
        return [
            *percentiles("gap.one-run", gaps, {50: "<= 20", 99: "<= 100"}),
            median("writes.one-run", writes, "per-stage", "<= 4"),
            Figure(name="rss.idle", value=idle / MEGABYTE, unit="MB", aim="<= 120"),
            Figure(name="rss.one-run", value=max(plane.rss) / MEGABYTE, unit="MB", aim="<= 120"),
        ]


async def throughput(runs: int, profile: Path | None) -> list[Figure]:
    """Many runs at once: the whole machine is busy, with the cluster above all.

    Args:
        runs: How many, all created at once.
        profile: Where to write a profile of the operator, or None.
    """
    async with started(delay_s=DELAY_S, load=True, profile=profile) as plane:
        await plane.run("warm-up", 1)
        before = plane.cpu_s
        await plane.run("load", runs)
        return list(_throughput(plane, runs, plane.cpu_s - before))


def _throughput(plane: Plane, runs: int, operator_cpu_s: float) -> Iterator[Figure]:
    jobs = runs * JOBS_PER_RUN
    rate = jobs / plane.seconds("load")
    yield Figure(name=f"throughput.{runs}-runs", value=rate, unit="stages/s", aim=">= 20")
    cpu_ms = operator_cpu_s / jobs * 1e3
    yield Figure(name=f"cpu.operator.{runs}-runs", value=cpu_ms, unit="ms/stage")
    yield from percentiles(f"gap.{runs}-runs", plane.gaps("load"), {50: "", 99: ""})
    writes = plane.writes_per_job("load", runs)
    yield Figure(name=f"writes.{runs}-runs", value=writes, unit="per-stage", aim="<= 4")
    rss = max(plane.rss) / MEGABYTE
    yield Figure(name=f"rss.{runs}-runs", value=rss, unit="MB", aim="<= 120")
