"""Small trainings on fixed rows: the questions of ``online_stages``, and answers to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autodidact_contract.records import AnswerSample, Pair
from autodidact_contract.stages import TrainDpo, TrainReranker, TrainSft, Validation
from autodidact_worker import rows
from worker.online_stages import PROBLEMS, VALIDATION

_FIXED: Mapping[str, Any] = {
    "learning_rate": 1e-2,
    "final_learning_rate": 0.0,
    "schedule": "linear",
    "warmup_steps": 0,
    "epochs": 2,
    "batch_size": 8,
    "max_length": 32,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}

WRONG = ("01", "1?0", "", "?")
"""Answers that are right to no question, of different lengths."""


def sft_config(**changes: Any) -> TrainSft:
    """Three steps on the questions, measured after each pass over them."""
    return TrainSft(**{**_FIXED, "validation": Validation(**VALIDATION), **changes})


def dpo_config(**changes: Any) -> TrainDpo:
    """Three steps on the pairs."""
    return TrainDpo(**{**_FIXED, "beta": 0.1, "nll_coefficient": 0.0, **changes})


def reranker_config(**changes: Any) -> TrainReranker:
    """Six steps on the samples."""
    return TrainReranker(**{**_FIXED, **changes})


def write_inputs(folder: Path) -> dict[str, Path]:
    """Writes pairs of a right and a wrong answer, and the same as samples; returns their folders."""
    pairs, samples = [], []
    for number, problem in enumerate(PROBLEMS):
        wrong = WRONG[number % len(WRONG)]
        pairs.append(
            Pair(
                prompt_id=f"{number:016x}",
                prompt=problem.prompt,
                chosen=problem.target,
                rejected=wrong,
                chosen_id=f"{number}-0",
                rejected_id=f"{number}-1",
                chosen_score=5,
                rejected_score=0,
            )
        )
        samples += [
            AnswerSample(
                id=f"{problem.id}/{index}",
                question_id=problem.id,
                prompt=problem.prompt,
                index=index,
                text=text,
                tokens=len(text) + 1,
                finish="stop",
                value=text,
                reason="ok",
                correct=text == problem.answer,
                gold=problem.answer,
            )
            for index, text in enumerate((problem.target, wrong))
        ]
    found = {name: folder / name for name in ("pairs", "samples")}
    for name, values in (("pairs", pairs), ("samples", samples)):
        found[name].mkdir(parents=True)
        rows.write_parts(found[name], name, values)
    return found
