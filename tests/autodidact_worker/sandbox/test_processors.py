"""How many runners a process starts: what its container may use, not what the node has."""

import os
from pathlib import Path

import pytest

from autodidact_worker.sandbox import processors
from autodidact_worker.sandbox.pool import Sandbox


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def share(folder: Path, files: dict[str, str], own: str = "0::/\n", ranks: int = 1) -> int:
    """Writes control groups and returns the number of runners."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return processors.share(folder / "groups", folder / "own", {"LOCAL_WORLD_SIZE": str(ranks)})


@pytest.mark.parametrize(
    ("files", "own", "ranks", "wanted"),
    [
        ({}, "0::/\n", 1, 16),  # 64, but never more than 16
        ({"cpu.max": "max 100000\n"}, "0::/\n", 8, 8),
        ({"cpu.max": "400000 100000\n"}, "0::/\n", 1, 4),
        ({"cpu.max": "400000 100000\n"}, "0::/\n", 2, 2),
        ({"cpu.max": "400000 100000\n"}, "0::/\n", 8, 1),
        ({"cpu.max": "250000 100000\n"}, "0::/\n", 1, 2),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1, 1),
        # The group above is the tighter one.
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "900000 100000\n"}, "0::/a/b\n", 1, 3),
        # The path is the node's, the mount our own.
        ({"cpu.max": "300000 100000\n"}, "0::/kubepods/pod1/c\n", 1, 3),
        (
            {"cpu/cpu.cfs_quota_us": "600000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            "5:memory:/x\n4:cpu,cpuacct:/x\n",
            1,
            6,
        ),
        (
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/\n0::/\n",
            4,
            16,
        ),
    ],
)
def test_runners_are_the_share_of_the_quota(
    tmp_path: Path, files: dict[str, str], own: str, ranks: int, wanted: int
) -> None:
    """Both versions of control groups, nested ones, and the ranks of a node."""
    assert share(tmp_path, files, own, ranks) == wanted


def test_without_control_groups_the_mask_decides(tmp_path: Path) -> None:
    """A machine that has none has no quota."""
    assert processors.share(tmp_path / "none", tmp_path / "none", {"LOCAL_WORLD_SIZE": "32"}) == 2


def test_a_sandbox_starts_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a number is given."""
    monkeypatch.setattr(processors, "share", lambda: 3)
    assert (Sandbox()._count, Sandbox(workers=2)._count) == (3, 2)
