from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.base import Lora
from autodidact_store import open_store
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.stages import train_dpo, train_sft
from support.training_rows import (
    PAIRS,
    Run,
    digest,
)


def test_the_same_seed_makes_the_same_bytes(run_trainer: Run) -> None:
    """Twice the same with dropout and accumulation, and other bytes for another seed."""
    digests = [
        digest(run_trainer(seed=seed, dropout=0.1, micro_batch_size=2)[0]) for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker can catch it."""


@pytest.mark.thorough
@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.1)])
@pytest.mark.parametrize("kind", [train_sft, train_dpo])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_resumed_training_ends_with_the_same_bytes(
    run_trainer: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    how: str,
    lora: Lora | None,
) -> None:
    """Stopped or killed after the third step, the next attempt's artifact is the uninterrupted."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    settings: dict[str, Any] = {"dropout": 0.1, "weight_decay": 0.01, "epochs": 2, "store": store}
    settings["lora"] = lora
    if kind is train_dpo:
        settings["pairs"] = PAIRS
    uninterrupted = run_trainer(kind, **settings)
    seen: list[int] = []

    def progress(step: int, _: int, **__: float) -> None:
        seen.append(step)
        if how == "kill" and step == 4:
            raise _Killed

    if how == "kill":
        monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    with pytest.raises(StoppedError if how == "stop" else _Killed):
        run_trainer(
            kind, progress=progress, stopping=lambda: len(seen) >= 2 and how == "stop", **settings
        )
    saved = Checkpoints.of(
        store, "team", kind.__name__.rpartition(".")[2].replace("_", "-"), "0a1b"
    )
    marker = saved.latest()
    assert marker is not None
    assert marker.step == 3
    seen.clear()
    monkeypatch.delenv("AUTODIDACT_CHECKPOINT_SECONDS", raising=False)
    again = run_trainer(kind, progress=lambda step, *_, **__: seen.append(step), **settings)
    assert seen[0] == 4
    assert digest(again[0]) == digest(uninterrupted[0])
    assert again[1] == uninterrupted[1]
