"""Small online trainings: questions on which an untrained model is right now and then."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autodidact_contract.artifacts import File, artifact_digest
from autodidact_contract.base import Lora
from autodidact_contract.records import Problem
from autodidact_contract.stages.answers import Answers, Reward
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.training import TrainGrpo, TrainOnlineSt, TrainPpo, Validation
from autodidact_worker.runtime import frame, rows
from autodidact_worker.runtime.frame import Context, InputArtifact, Output
from autodidact_worker.toys import copying

RULES = Answers(rules="rcCompat", kind="number")
"""Under these rules a text that is nothing but a number is read."""

PROBLEMS = [
    Problem(
        id=f"q{number}",
        question=f"{number:b}",
        prompt=f"{number:b}?",
        target=f"{number % 2}",
        answer=f"{number % 2}",
    )
    for number in range(1, 13)
]
"""Whether a number is odd; prompts differ in length."""


def write_model(folder: Path) -> Path:
    """Writes an untrained model of six tokens, right about one time in ten, and returns its folder."""
    shared = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    config = LlamaConfig(
        vocab_size=6,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        **shared,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    copying.tokenizer((), ("0", "1", "?"), 64).save_pretrained(folder)
    return folder


LORA = Lora(rank=4, alpha=8)

UNEVEN = (
    torch.tensor([[1.0, 2.0, 9.0], [4.0, -3.0, 0.5], [0.25, 7.0, 7.0], [-1.0, 7.0, 7.0]]),
    torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.bool),
)
"""Values and a mask, of which two ranks have unequally many."""

VALIDATION: Mapping[str, Any] = {
    "every_epochs": 1.0,
    "questions": 6,
    "max_new_tokens": 3,
    "answers": RULES,
    "keep": "last",
}

_ONLINE: Mapping[str, Any] = {
    "learning_rate": 3e-3,
    "final_learning_rate": 3e-4,
    "schedule": "linear",
    "warmup_steps": 0,
    "epochs": 2,
    "batch_size": 8,
    "max_length": 24,
    "dropout": 0.0,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "sampling": Sampling(temperature=1, top_p=1, max_new_tokens=3),
    "answers": RULES,
    "passes": 2,
}


def ppo_config(**changes: Any) -> TrainPpo:
    """Three rollouts of eight answers in two mini-batches of two micro-batches, two passes each."""
    values: dict[str, Any] = {
        **_ONLINE,
        "validation": Validation(**{**VALIDATION, **changes.pop("validation", {})}),
        "reward": Reward(partial=0.1, partial_when="numeric"),
        "beta": 0.05,
        "clip_ratio": 0.2,
        "mini_batch_size": 4,
        "micro_batch_size": 2,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "clip_value": 0.2,
        "value_coefficient": 1.0,
    }
    return TrainPpo(**(values | changes))


def st_config(**changes: Any) -> TrainOnlineSt:
    """Three rollouts of eight answers in passes of four."""
    values: dict[str, Any] = {
        **_ONLINE,
        "validation": Validation(**{**VALIDATION, **changes.pop("validation", {})}),
        "micro_batch_size": 4,
    }
    return TrainOnlineSt(**(values | changes))


def grpo_config(**changes: Any) -> TrainGrpo:
    """Three rollouts of four questions with four answers each, two passes, two micro-batches."""
    values: dict[str, Any] = {
        **_ONLINE,
        "validation": Validation(**{**VALIDATION, **changes.pop("validation", {})}),
        "reward": Reward(partial=0.1, partial_when="numeric"),
        "beta": 0.05,
        "clip_ratio": 0.2,
        "epochs": 1,
        "batch_size": 4,
        "group_size": 4,
        "micro_batch_size": 8,
    }
    return TrainGrpo(**(values | changes))


def write_inputs(folder: Path, problems: Sequence[Problem] = PROBLEMS) -> dict[str, Path]:
    """Writes questions and the validation split, the same rows, and returns their folders."""
    found = {}
    for name in ("questions", "validation"):
        found[name] = folder / name
        found[name].mkdir(parents=True)
        rows.write(found[name] / rows.DATA, problems)
    return found


def run(config: Any, inputs: Mapping[str, Path], place: Path, **more: Any) -> Output:
    """Runs a stage; its files are in ``place / "out"`` then."""
    for name in ("out", "scratch"):
        (place / name).mkdir(parents=True)
    context = Context(
        config=config,
        inputs={name: InputArtifact(path=path) for name, path in inputs.items()},
        out=place / "out",
        scratch=place / "scratch",
        namespace="team",
        key="0a1b",
        **more,
    )
    return frame.call(context)


class Stop:
    """Asks a training to stop at one of its looks after its first step; the first one is 1."""

    def __init__(self, look: int = 1) -> None:
        self._left = look
        self._begun = False

    def progress(self, *_: int, **__: float) -> None:
        """Sees that there was a step."""
        self._begun = True

    def asked(self) -> bool:
        """Returns whether it is to stop."""
        self._left -= self._begun
        return self._left <= 0


def digest(folder: Path) -> str:
    """Returns the digest the folder would have as an artifact."""
    return artifact_digest(
        File(
            path=path.name,
            size=0,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            location="",
        )
        for path in folder.iterdir()
    )
