"""The whole self-rewarding toy by hand: real stage code, folders instead of a store.

``chain(folder, seed)`` is what the slow test and anyone who tunes the task runs.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autodidact_contract import stages
from autodidact_contract.records import RankedReplies
from autodidact_contract.stages import Sampling, TrainDpo, TrainSft
from autodidact_worker import frame, rows, toy
from autodidact_worker.errors import UserError
from autodidact_worker.frame import Context, InputArtifact, Output

RUBRIC = "toy-copy-v1"
REPLIES = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=8)
JUDGEMENTS = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=10)
PROMPTS = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=10)


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


def write_inputs(folder: Path, seed: int) -> dict[str, Path]:
    """Writes what the import stage makes of the four toy URIs."""
    (folder / "model").mkdir(parents=True)
    toy.write_model(folder / "model", seed)
    for name in ("instructions", "evaluations", "heldout"):
        (folder / name).mkdir()
        rows.write(folder / name / rows.DATA, toy.DATA[name](seed))
    return {n: folder / n for n in ("model", "instructions", "evaluations", "heldout")}


def measure(model: Path, heldout: Path) -> dict[str, float]:
    """Returns quality of sampled replies to the held-out prompts by the oracle."""
    from autodidact_worker import generation  # noqa: PLC0415 - imports torch

    prompts = [row.prompt for row in rows.read(heldout / rows.DATA, RankedReplies)]
    asked = [generation.Request(id=p, prompt=p, n=2, seed_key=f"measure/{p}") for p in prompts]
    found = generation.load(model).generate(asked, REPLIES)
    scores = [
        toy.quality(p, c.text)
        for p, completions in zip(prompts, found, strict=True)
        for c in completions
    ]
    return {
        "quality": sum(scores) / len(scores),
        "exact": sum(score == 5 for score in scores) / len(scores),
    }


def one_round(
    folder: Path, model: Path, data: Mapping[str, Path], seed: int, **dpo: Any
) -> dict[str, Any]:
    """Runs prompts, replies, judgements, pairs and DPO with one model."""
    told: dict[str, Any] = {}
    prompts, responses, judged = folder / "prompts", folder / "responses", folder / "judged"
    steps: list[tuple[str, Any, dict[str, Path], Path]] = [
        ("prompts", prompts_config(seed), {"model": model, **data}, prompts),
        (
            "responses",
            stages.GenerateResponses(seed=seed, per_prompt=4, sampling=REPLIES),
            {"model": model, "prompts": prompts},
            responses,
        ),
        (
            "judge",
            stages.Judge(
                seed=seed,
                rubric=RUBRIC,
                votes=3,
                min_valid=1,
                allow_fractional=False,
                sampling=JUDGEMENTS,
            ),
            {"model": model, "responses": responses},
            judged,
        ),
        (
            "pairs",
            stages.BuildPairs(
                seed=seed, tie_break="random", min_score_gap=0, exclude_truncated=True
            ),
            {"judged": judged},
            folder / "pairs",
        ),
        (
            "dpo",
            dpo_config(seed, **dpo),
            {"model": model, "pairs": folder / "pairs"},
            folder / "model",
        ),
    ]
    for name, config, inputs, out in steps:
        started = time.monotonic()
        output = run(config, inputs, out)
        told[name] = {
            "seconds": round(time.monotonic() - started, 1),
            **output.counts,
            **{n: round(m.value or 0, 3) for n, m in output.metrics.items()},
        }
    return told


def prompts_config(seed: int) -> stages.GeneratePrompts:
    """New prompts of the toy: one word each, novel."""
    return stages.GeneratePrompts(
        seed=seed,
        rubric=RUBRIC,
        count=600,
        sampling=PROMPTS,
        seed_demonstrations=6,
        generated_demonstrations=2,
        min_words=1,
        max_words=1,
        excluded_words=(),
        max_rouge=0.7,
        attempts_per_prompt=5,
    )


def chain(folder: Path, seed: int, rounds: int = 1, dpo: Any = None, **sft: Any) -> dict[str, Any]:
    """Runs warm-up and rounds; returns everything measured, model by model."""
    data = write_inputs(folder / "inputs", seed)
    model = folder / "m1"
    started = time.monotonic()
    wanted = {name: data[name] for name in ("model", "instructions", "evaluations")}
    output = run(sft_config(seed, **sft), wanted, model)
    told: dict[str, Any] = {"sftSeconds": round(time.monotonic() - started, 1), **output.counts}
    told["m1"] = measure(model, data["heldout"])
    seeds = {"instructions": data["instructions"]}
    for number in range(2, 2 + rounds):
        place = folder / f"round-{number}"
        try:
            told[f"round-{number}"] = one_round(place, model, seeds, seed, **(dpo or {}))
        except UserError as error:  # replies that are all good leave no pairs
            return {**told, "stopped": error.reason}
        model = place / "model"
        told[f"m{number}"] = measure(model, data["heldout"])
    return told
