"""A worker process as the planner sees a pod."""

import asyncio
import sys
from pathlib import Path

from autodidact_operator.local.processes import Shard


def ended(folder: Path, code: str) -> Shard:
    """A shard whose process ran some Python."""

    async def run() -> Shard:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        await process.wait()
        return Shard(index=2, folder=folder, process=process)

    return asyncio.run(run())


def test_the_end_of_a_process_is_a_pods(tmp_path: Path) -> None:
    """The exit code is told as a kubelet tells it: 128 and the signal that ended the process."""
    cases = {
        "": ("Succeeded", 0),
        "raise SystemExit(64)": ("Failed", 64),
        "import os; os.kill(os.getpid(), 9)": ("Failed", 137),
    }
    for code, expected in cases.items():
        pod = ended(tmp_path, code).observed()
        assert (pod.phase, pod.exit_code) == expected
        assert pod.index == 2


def test_before_the_first_line_nothing_is_known(tmp_path: Path) -> None:
    """A process that has not begun is pending, without progress or last words."""
    shard = Shard(index=0, folder=tmp_path)
    assert (shard.observed().phase, shard.observed().exit_code) == ("Pending", None)
    assert shard.progress() is None
    assert shard.observed().result is None


def test_the_last_line_is_the_progress(tmp_path: Path) -> None:
    """Of several lines the last one counts; one that is cut or no JSON counts as none."""
    shard = Shard(index=0, folder=tmp_path)
    lines = '{"stage": "a", "step": 1, "total": 3}\n{"stage": "a", "step": 2, "total": 3}\n'
    (tmp_path / "progress.jsonl").write_text(lines)
    found = shard.progress()
    assert found is not None
    assert (found.step, found.total) == (2, 3)
    (tmp_path / "progress.jsonl").write_text(lines + '{"stage":')
    assert shard.progress() is None
    (tmp_path / "termination").write_text("garbage")
    assert shard.observed().result is None
