"""Part ``ppo``: where the time of a PPO training goes, and sampling beside plain ``generate``.

On the toy of ReFT with an untrained model, whose answers are of all lengths up to the limit.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autodidact_contract.records import Problem
from autodidact_contract.stages.answers import Answers, Reward
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.training import TrainPpo, Validation
from tools.bench.figures import Figure, median

# Under these rules even an untrained model earns a reward now and then.
RULES = Answers(rules="rcCompat", kind="number")
SAMPLING = Sampling(temperature=1, top_p=1, max_new_tokens=10)
BATCH = 256
ROLLOUTS = 8
PHASES = ("sampling", "reward", "learning", "validation")


def training(repetitions: int) -> list[Figure]:
    """Measures milliseconds per rollout of 256 answers by phase, and tokens per second of CPU.

    Args:
        repetitions: Of sampling; the training has rollouts enough.
    """
    from autodidact_worker.answers import questions  # noqa: PLC0415 - imports torch
    from autodidact_worker.models import loading  # noqa: PLC0415 - imports torch
    from autodidact_worker.runtime import rows  # noqa: PLC0415 - imports torch
    from autodidact_worker.toys import sums  # noqa: PLC0415 - imports torch

    problems = [questions.problem(row, RULES) for row in sums.questions(0, "train")]
    with tempfile.TemporaryDirectory(prefix="autodidact-bench-") as name:
        folder = Path(name)
        sums.write_model(folder / "model", 0)
        for split, count in (("questions", ROLLOUTS * BATCH), ("validation", BATCH)):
            (folder / split).mkdir()
            rows.write(folder / split / rows.DATA, problems[:count])
        split = _phases(folder)
        model, tokenizer = loading.load(folder / "model")
        ways = {"ours": _ours(model, tokenizer), "generate": _plain(model, tokenizer)}
        prompts = problems[:BATCH]
        # In turns, so that what else the machine does is in both.
        speeds = [{n: _speed(way, prompts) for n, way in ways.items()} for _ in range(repetitions)]
    found = [median(f"sampling.{n}", [speed[n] for speed in speeds], "tokens/s") for n in ways]
    ratios = [speed["ours"] / speed["generate"] for speed in speeds]
    return [*split, *found, median("sampling.ratio", ratios, "x")]


def _phases(folder: Path) -> list[Figure]:
    from autodidact_worker.runtime import frame  # noqa: PLC0415 - as above
    from autodidact_worker.runtime.frame import Context, InputArtifact  # noqa: PLC0415

    for name in ("out", "scratch"):
        (folder / name).mkdir()
    seconds: dict[str, float] = {}

    def progress(_: int, __: int, **metrics: float) -> None:
        seconds.update({phase: metrics.get(f"{phase}Seconds", 0.0) for phase in PHASES})

    frame.call(
        Context(
            config=_config(),
            inputs={
                name: InputArtifact(path=folder / name)
                for name in ("model", "questions", "validation")
            },
            out=folder / "out",
            scratch=folder / "scratch",
            progress=progress,
        )
    )
    return [
        Figure(name=f"ppo.{phase}", value=seconds[phase] / ROLLOUTS * 1e3, unit="ms")
        for phase in PHASES
    ]


def _config() -> TrainPpo:
    return TrainPpo(
        learning_rate=3e-4,
        final_learning_rate=0,
        schedule="constant",
        warmup_steps=0,
        epochs=1,
        batch_size=BATCH,
        mini_batch_size=BATCH // 2,
        max_length=24,
        dropout=0,
        weight_decay=0,
        max_grad_norm=1,
        sampling=SAMPLING,
        answers=RULES,
        validation=Validation(
            every_epochs=1, questions=BATCH, max_new_tokens=10, answers=RULES, keep="last"
        ),
        passes=2,
        reward=Reward(partial=0.1, partial_when="numeric"),
        beta=0.02,
        clip_ratio=0.2,
        gamma=1,
        gae_lambda=0.95,
        clip_value=0.2,
        value_coefficient=1,
        value_head="zero",
    )


Way = Callable[[Sequence[Problem]], int]
"""Samples an answer to each question and returns the number of their tokens."""


def _speed(way: Way, prompts: Sequence[Problem]) -> float:
    began = time.process_time()
    tokens = way(prompts)
    return tokens / (time.process_time() - began)


def _ours(model: Any, tokenizer: Any) -> Way:
    from autodidact_worker.training.distributed import Layout  # noqa: PLC0415
    from autodidact_worker.training.online.rollouts import Sampler, visits  # noqa: PLC0415

    def sample(prompts: Sequence[Problem]) -> int:
        sampler = Sampler(prompts, tokenizer, 64, _config(), Layout(gpu=False))
        found = sampler.sample(model, visits(len(prompts), 0, len(prompts), 0))
        return sum(len(completion.ids) for completion in found)

    return sample


def _plain(model: Any, tokenizer: Any) -> Way:
    tokenizer.padding_side = "left"

    def sample(prompts: Sequence[Problem]) -> int:
        given = tokenizer([p.prompt for p in prompts], return_tensors="pt", padding=True)
        found = model.generate(
            input_ids=given.input_ids,
            attention_mask=given.attention_mask,
            do_sample=True,
            max_new_tokens=SAMPLING.max_new_tokens,
        )
        texts = found[:, given.input_ids.shape[1] :]
        return int((texts != tokenizer.pad_token_id).sum())

    return sample
