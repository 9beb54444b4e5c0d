"""Checks that a training can go on: losses are numbers, and sampled answers teach something."""

import math

from autodidact_contract.stages.training import Online
from autodidact_worker.runtime.errors import UserError

TRIAL = 50
"""Rollouts after which something must have been rewarded, if the first epoch is not over before."""


def trial(rollouts: int, questions: int, batch_size: int) -> int:
    """Returns the number of rollouts after which ``check`` is to be called.

    Args:
        rollouts: Of the whole training.
        questions: Of an epoch.
        batch_size: Questions of a rollout.
    """
    return min(TRIAL, -(-questions // batch_size), rollouts)


def check(
    config: Online, *, rollouts: int, answers: int, ended: bool, rewarded: bool, limit: int
) -> None:
    """Raises if nothing can be learned from the answers so far.

    Args:
        config: What the user set.
        rollouts: How many there were.
        answers: How many they had.
        ended: Whether any of them ended by itself.
        rewarded: Whether any of them had a reward above 0.
        limit: Tokens of prompt and answer.

    Raises:
        UserError: ``AllAnswersCut`` or ``NoReward``.
    """
    if not ended:
        raise UserError(
            "AllAnswersCut",
            f"all {answers} answers of the first {rollouts} rollouts were cut at maxLength {limit} "
            f"or sampling.maxNewTokens {config.sampling.max_new_tokens}; raise them, or warm up "
            "longer, until the model ends its answers",
        )
    if not rewarded:
        raise UserError(
            "NoReward",
            f"none of the {answers} answers of the first {rollouts} rollouts earned a reward; warm "
            "up longer, and check that answers.rules, answers.kind and reasoning fit what the "
            "model was taught to write",
        )


def check_step(step: int, total: int, *, loss: float, norm: float | None, rate: float) -> None:
    """Raises if a step had a loss or a gradient that is no number.

    Args:
        step: Number of the step, from 1.
        total: Steps of the whole training.
        loss: Of the step.
        norm: Of the gradient, where it is known.
        rate: Learning rate of the step.

    Raises:
        UserError: ``NaNLoss``.
    """
    if not (math.isfinite(loss) and math.isfinite(norm or 0.0)):
        raise UserError(
            "NaNLoss",
            f"the loss is {loss} and the gradient norm {norm} at step {step} of {total} with "
            f"learning rate {rate:.3g}; lower learningRate, raise warmupSteps or lower maxGradNorm",
        )


def check_dropout(config: Online) -> None:
    """Raises if the policy that learns would not be the one that sampled.

    Raises:
        UserError: ``DropoutNotApplicable``.
    """
    lora = config.lora.dropout if config.lora else 0.0
    if config.dropout or lora:
        raise UserError(
            "DropoutNotApplicable",
            f"dropout is {config.dropout} and lora.dropout is {lora}, but the policy that learns must "
            "be the one that sampled; set both to 0",
        )
