"""Rows for small trainings by TRL, and what runs one on them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from autodidact_contract.artifacts import File, artifact_digest
from autodidact_contract.records import Evaluation, Instruction, Pair, Problem
from autodidact_contract.stages.answers import Answers
from autodidact_contract.stages.training import Validation
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.frame import Output

Run = Callable[..., tuple[Path, Output]]


INSTRUCTIONS = [Instruction(prompt=f"say {i}:", response="ab" * (i % 5 + 1)) for i in range(20)]


EVALUATIONS = [Evaluation(prompt="Aabcde:", response="abcde", judgement="yyyyy=5", score=5)] * 4


PAIRS = [
    Pair(
        prompt_id=f"{i:016x}",
        prompt=f"say {i}:",
        chosen="ab" * (i % 3 + 1),
        rejected="cd" * (i % 4 + 1),
        chosen_id=f"{i}-0",
        rejected_id=f"{i}-1",
        chosen_score=4,
        rejected_score=1,
    )
    for i in range(12)
]


ANSWERS = Answers(rules="rcCompat", kind="text")  # the whole text is the answer


QUESTIONS = [
    Problem(id=f"q{i}", question=f"{i}", prompt=f"{i}?", target="abc"[i % 3], answer="abc"[i % 3])
    for i in range(9)
]


VALIDATION = Validation(every_epochs=1, questions=6, max_new_tokens=4, answers=ANSWERS)


SMALL = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0}


def digest(folder: Path) -> str:
    """The digest the folder would have as an artifact."""
    return artifact_digest(
        File(
            path=path.name,
            size=0,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            location="",
        )
        for path in folder.iterdir()
    )


def figures(out: Path, name: str) -> list[tuple[float, float]]:
    """Step and value of a figure in a training's curve."""
    curve = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [(line["step"], line[name]) for line in curve if name in line]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The weights of a written model."""
    return load_file(out / "model.safetensors")


def equal(first: Path, second: Path) -> bool:
    """Whether two written models have the same weights."""
    one, other = weights(first), weights(second)
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)
