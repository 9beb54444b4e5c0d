"""Checkpoints: complete or invisible, and every bit comes back."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autodidact_store import open_store
from autodidact_store.errors import CorruptError
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.training import state as state_files


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


def test_the_next_step_after_a_restart_is_bitwise_the_same(tmp_path: Path) -> None:
    """Weights, moments, schedule and random states are all there: dropout draws the same."""
    model, optimizer, scheduler = _training()
    for _ in range(3):
        _step(model, optimizer, scheduler)
    state_files.save_state(tmp_path, model, optimizer, scheduler)
    state = state_files.random_state()
    assert not [path for path in tmp_path.iterdir() if path.suffix in {".pt", ".pth", ".bin"}]
    _step(model, optimizer, scheduler)
    wanted = [p.detach().clone() for p in model.parameters()]

    model, optimizer, scheduler = _training()
    state_files.load_model(tmp_path, model)
    state_files.load_optimizer(tmp_path, optimizer, scheduler)
    state_files.restore_random(state)
    _step(model, optimizer, scheduler)
    found = list(model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    assert scheduler.get_last_lr() == [pytest.approx(0.01 / 5)]


def test_every_generator_comes_back() -> None:
    """Python, NumPy and torch draw the same numbers again."""
    state = state_files.random_state()

    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(1))

    first = draw()
    assert draw() != first
    state_files.restore_random(state)
    assert draw() == first


def _training() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    return model, optimizer, scheduler


def _step(model: Any, optimizer: Any, scheduler: Any) -> None:
    loss = model(torch.rand(8, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
