"""The schedule of a training: the order of its rows, its steps, its learning rate. Pure.

- **Order of rows**: a function of the seed alone, over all epochs at once, with rows of similar
  length together. A resumed attempt skips what was used and draws nothing anew.
- **Learning rate**: with the final value the papers have, which schedules of libraries lack.
- **Figures**: those that a stage reports are means over the end of its curve.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence

from autodidact_contract.artifacts import Mean
from autodidact_contract.stages.training import Training
from autodidact_worker.runtime.errors import UserError

POOL_BATCHES = 50
"""Batches that are filled by length together; as transformers' own grouping has it."""


def order(lengths: Sequence[int], epochs: float, batch_size: int, seed: int) -> list[int]:
    """Returns the rows of a whole training in order; a step takes the next ``batch_size``.

    Every row comes once an epoch, shuffled anew. Within a pool of batches, rows of similar length
    are put together, and the batches are shuffled again.

    Args:
        lengths: Length of each row.
        epochs: Passes over the rows, maybe a fraction.
        batch_size: Rows of one optimiser step.
        seed: Of the shuffling.
    """
    rng = random.Random(f"{seed}/order")
    wanted = max(1, round(epochs * len(lengths)))
    rows: list[int] = []
    while len(rows) < wanted:
        rows += rng.sample(range(len(lengths)), len(lengths))
    rows = rows[:wanted]
    pool = POOL_BATCHES * batch_size
    batches = []
    for start in range(0, wanted, pool):
        chunk = rows[start : start + pool]
        # What does not fill a batch must come last, or all after it would be cut elsewhere; it is
        # taken before sorting, so that it is like the rest.
        full = len(chunk) - len(chunk) % batch_size
        ordered = sorted(chunk[:full], key=lambda row: lengths[row])
        cut = [ordered[i : i + batch_size] for i in range(0, full, batch_size)]
        rng.shuffle(cut)
        batches += [*cut, chunk[full:]]
    return [row for batch in batches for row in batch]


def steps(rows: int, epochs: float, batch_size: int) -> int:
    """Returns the number of optimiser steps in so many passes; the last one may lack rows."""
    return math.ceil(max(1, round(epochs * rows)) / batch_size)


WINDOW = 0.1
"""Share of a curve, from its end, over which reported figures are means."""


def closing_means(curve: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, Mean]:
    """Returns the means of figures over the end of a curve; of those that its last line has."""
    last = curve[-max(1, round(WINDOW * len(curve))) :]
    return {
        name: Mean(total=sum(line[name] for line in last), weight=len(last))
        for name in names
        if last and name in last[-1]
    }


def learning_rate(config: Training, step: int, steps: int) -> float:
    """Returns the learning rate of an optimiser step.

    It rises linearly to ``learning_rate`` over the warm-up and is ``final_learning_rate`` at the
    very last step (arXiv 2401.10020 section 3.1.3: 5.5e-6 to 1.1e-6, 1e-6 to 1e-7).

    Args:
        config: Rates, schedule and warm-up; ``warmup_ratio`` of the steps, rounded up as
            transformers does, is the warm-up where ``warmup_steps`` is 0.
        step: From 0.
        steps: Number of all steps of the schedule, even if training ends before.
    """
    peak, final = config.learning_rate, config.final_learning_rate
    rising = config.warmup_steps or math.ceil(config.warmup_ratio * steps)
    if step < rising:
        return peak * (step + 1) / rising
    if config.schedule == "constant":
        return peak
    done = min(1.0, (step - rising) / max(1, steps - 1 - rising))
    if config.schedule == "cosine":
        return final + (peak - final) * (1 + math.cos(math.pi * done)) / 2
    return peak + (final - peak) * done


def micro_batches(config: Training, world: int) -> tuple[int, int]:
    """Returns rows in a forward pass of one process, and how many passes make a step.

    Raises:
        UserError: ``InvalidBatchSize``: they do not divide the global batch.
    """
    share, rest = divmod(config.batch_size, world)
    micro = config.micro_batch_size or share
    if rest or micro < 1 or share % micro:
        raise UserError(
            "InvalidBatchSize",
            f"batchSize {config.batch_size} is not a multiple of {world} processes x "
            f"microBatchSize {micro}; choose another",
        )
    return micro, share // micro
