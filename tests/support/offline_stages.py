"""Small trainings on fixed rows: the questions of ``online_stages``, and answers to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autodidact_contract.records import AnswerSample, Pair, SeedPrompt
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.judging import Contest
from autodidact_contract.stages.training import (
    Selection,
    TrainDpo,
    TrainReranker,
    TrainSft,
    Validation,
)
from autodidact_worker.judging.contests import Meeting, Verdict
from autodidact_worker.runtime import rows
from support.online_stages import PROBLEMS, VALIDATION

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


def chosen_config(**changes: Any) -> TrainDpo:
    """The same, each step of which is a checkpoint that meets the best one."""
    sampling = Sampling(temperature=1, top_p=1, max_new_tokens=3)
    contest = Contest(
        rubric="additive-v1",
        judge="model",
        judge_sampling=sampling,
        reply_sampling=sampling,
        prompts=len(PROBLEMS),
    )
    selection = Selection(every_steps=1, patience=2, contest=contest)
    return dpo_config(**{"selection": selection, **changes})


class SecondIsBest:
    """A judge who likes each of two checkpoints better than the one before, and no third one."""

    def __init__(self) -> None:
        self._verdicts: list[Verdict] = ["win", "win", "loss"]

    def compare(self, meetings: Sequence[Meeting], *_: Any) -> list[tuple[Verdict, ...]]:
        """Says the same of every prompt."""
        verdict = self._verdicts.pop(0)
        return [(verdict, verdict) for _ in meetings]


def write_inputs(folder: Path) -> dict[str, Path]:
    """Writes pairs of a right and a wrong answer, and the same as samples; returns their folders.

    Beside them are prompts that checkpoints are chosen on.
    """
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
    found["prompts"] = folder / "prompts"
    found["prompts"].mkdir()
    prompts = [SeedPrompt(prompt=problem.prompt) for problem in PROBLEMS]
    rows.write(found["prompts"] / rows.DATA, prompts)
    return found
