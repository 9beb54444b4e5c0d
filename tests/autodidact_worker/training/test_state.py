import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autodidact_worker.training import state as state_files


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
