"""Checkpoints: complete or invisible, and every bit comes back."""

from pathlib import Path

import pytest

from autodidact_store import open_store
from autodidact_store.errors import CorruptError
from autodidact_worker.runtime.checkpoints import Checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    """The checkpoints of one output, in a directory."""
    (tmp_path / "store").mkdir()
    return Checkpoints.of(open_store(str(tmp_path / "store")), "team", "train-sft", "0a1b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint's files, one of them in a folder as DeepSpeed has it."""
    path = tmp_path / "checkpoint"
    (path / "global_step7").mkdir(parents=True)
    (path / "state.json").write_text("{}")
    (path / "global_step7/rank0").write_bytes(b"shard")
    return path


def keys(saved: Checkpoints) -> list[str]:
    """What is in the store, below the prefix."""
    return [entry.key.removeprefix(saved.prefix) for entry in saved.store.entries(saved.prefix)]


def test_a_checkpoint_comes_back_whole(saved: Checkpoints, folder: Path, tmp_path: Path) -> None:
    """Files keep their names and bytes, below the namespace and the output's key."""
    assert saved.latest() is None
    saved.mark(7, saved.upload(7, folder))
    assert saved.prefix == "team/checkpoints/train-sft-0a1b/"
    assert keys(saved) == [
        "000000007/global_step7/rank0",
        "000000007/marker.json",
        "000000007/state.json",
    ]
    marker = saved.latest()
    assert marker is not None
    assert marker.step == 7
    saved.download(marker, tmp_path / "back")
    assert (tmp_path / "back/global_step7/rank0").read_bytes() == b"shard"


def test_what_is_not_marked_does_not_exist(saved: Checkpoints, folder: Path) -> None:
    """Killed between files and marker, the checkpoint before counts."""
    saved.mark(7, saved.upload(7, folder))
    saved.upload(9, folder)
    marker = saved.latest()
    assert marker is not None
    assert marker.step == 7


def test_older_checkpoints_go(saved: Checkpoints, folder: Path) -> None:
    """Only the newest stays, also of what was never marked; 10 is newer than 9."""
    for step in (7, 9):
        saved.mark(step, saved.upload(step, folder))
    saved.upload(8, folder)
    saved.mark(10, saved.upload(10, folder))
    assert {key.partition("/")[0] for key in keys(saved)} == {"000000010"}
    saved.clear()
    assert keys(saved) == []


def test_pruning_that_was_cut_short_is_finished(saved: Checkpoints, folder: Path) -> None:
    """Files without a marker, left by a killed attempt, go with the next pruning."""
    saved.upload(5, folder)
    saved.mark(7, saved.upload(7, folder))
    saved.upload(6, folder)
    saved.prune(7)
    assert {key.partition("/")[0] for key in keys(saved)} == {"000000007"}


def test_damage_is_noticed(saved: Checkpoints, folder: Path, tmp_path: Path) -> None:
    """A file that is not what the marker says is refused; a broken marker is no marker."""
    saved.mark(7, saved.upload(7, folder))
    saved.store.replace(f"{saved.prefix}000000007/state.json", b"[]")
    marker = saved.latest()
    assert marker is not None
    with pytest.raises(CorruptError):
        saved.download(marker, tmp_path / "back")
    saved.store.replace(f"{saved.prefix}000000007/marker.json", b"[]")
    assert saved.latest() is None


def test_outputs_do_not_see_each_other(saved: Checkpoints, folder: Path) -> None:
    """Another key, kind or namespace has its own."""
    saved.mark(7, saved.upload(7, folder))
    for place in (("team", "train-sft", "0a"), ("team", "train-dpo", "0a1b"), ("t", "train", "0")):
        assert Checkpoints.of(saved.store, *place).latest() is None
