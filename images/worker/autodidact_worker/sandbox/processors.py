"""How many programs a process should run at a time: its share of the processors it really has.

A container on a node of 128 processors sees them all, whatever its limit is; the limit is a quota
of time that the control group has.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MOST = 16
"""Runners of a process at most; one costs some 100 MiB, and grading is quicker than sampling."""

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def share(
    groups: Path = GROUPS, own: Path = OWN_GROUPS, environ: Mapping[str, str] = os.environ
) -> int:
    """Returns the number of runners for this process, at least one.

    It is what the affinity mask and the quota leave, divided by the processes of torchrun on this
    node, each of which has a sandbox.

    Args:
        groups: Where control groups are mounted.
        own: Says which ones are ours.
        environ: Has torchrun's ``LOCAL_WORLD_SIZE``.
    """
    allowed = min(len(os.sched_getaffinity(0)), *quotas(groups, own))
    return max(1, min(MOST, int(allowed) // int(environ.get("LOCAL_WORLD_SIZE", "1"))))


def quotas(groups: Path, own: Path) -> list[float]:
    """Returns the processors that our control group and each one above it may use; inf: no limit.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst.
    """
    found = [float("inf")]
    for folder in _folders(groups, own):
        for quota, period in _limits(folder):
            if quota.lstrip("-").isdecimal() and int(quota) > 0:  # else "max", or -1 in version 1
                found.append(int(quota) / int(period))
    return found


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Yields the folders of our groups and of those above; not all of them need exist.

    A container may be told its path on the node while its own group is mounted as the root.
    """
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        folder = root / path.lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(root))


def _limits(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields quota and period of a folder, in microseconds, of whichever version it is."""
    both = folder / "cpu.max"
    quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if both.exists():
        first, second = both.read_text().split()
        yield first, second
    elif quota.exists():
        yield quota.read_text().strip(), period.read_text().strip()
