"""Small trainings by GRPO."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autodidact_worker.intake import model_files
from autodidact_worker.runtime.frame import Output

RunGrpo = Callable[..., tuple[Path, Output]]


def figures(out: Path, name: str) -> list[float]:
    """Values of a figure in a training's curve."""
    curve = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [line[name] for line in curve if name in line]


def loss(trainer: Any, policy: list[float], old: list[float], reference: list[float]) -> float:
    """TRL's loss on an answer of three tokens with advantage 1 and one of a token with -1.

    The second answer's token is as likely to all three.
    """

    def rows(values: list[float]) -> torch.Tensor:
        return torch.tensor([values, [-1.0, 0.0, 0.0]])

    trainer.model.train()
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        rows(policy).requires_grad_(),
        torch.zeros(2, 3),
        None,
    )
    inputs = {
        "prompt_ids": torch.ones(2, 1, dtype=torch.long),
        "prompt_mask": torch.ones(2, 1, dtype=torch.long),
        "completion_ids": torch.ones(2, 3, dtype=torch.long),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "advantages": torch.tensor([1.0, -1.0]),
        "old_per_token_logps": rows(old),
        "ref_per_token_logps": rows(reference),
    }
    found: torch.Tensor = trainer._compute_loss(trainer.model, inputs)
    return found.item()
