"""Stages of the self-rewarding toy by hand: real stage code, folders instead of a store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autodidact_contract.stages.training import TrainDpo, TrainSft
from autodidact_worker.runtime import frame
from autodidact_worker.runtime.frame import Context, InputArtifact, Output

RUBRIC = "toy-copy-v1"


def sft_config(seed: int = 0, **changes: Any) -> TrainSft:
    """The warm-up of the toy."""
    values = {
        "seed": seed,
        "rubric": RUBRIC,
        "learning_rate": 2e-3,
        "final_learning_rate": 0.0,
        "schedule": "cosine",
        "warmup_steps": 20,
        "epochs": 8,
        "batch_size": 64,
        "micro_batch_size": None,
        "max_length": 128,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }
    return TrainSft(**(values | changes))


def dpo_config(seed: int = 0, **changes: Any) -> TrainDpo:
    """A round of DPO of the toy."""
    values = {
        "seed": seed,
        "learning_rate": 1e-4,
        "final_learning_rate": 0.0,
        "schedule": "linear",
        "warmup_steps": 0,
        "epochs": 1,
        "batch_size": 32,
        "micro_batch_size": None,
        "max_length": 128,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "beta": 0.1,
        "nll_coefficient": 0.0,
    }
    return TrainDpo(**(values | changes))


def run(
    config: Any, inputs: Mapping[str, Path], out: Path, call: Callable[..., Output] = frame.call
) -> Output:
    """Runs one stage from folders to a folder."""
    out.mkdir(parents=True)
    scratch = out.with_name(f"{out.name}.scratch")
    scratch.mkdir()
    found = {name: InputArtifact(path=path) for name, path in inputs.items()}
    return call(Context(config=config, inputs=found, out=out, scratch=scratch))
