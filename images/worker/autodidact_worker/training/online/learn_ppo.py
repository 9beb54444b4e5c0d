"""Learns from a rollout by PPO: rewards of each token, advantages, and optimiser steps.

Source: arXiv 2401.08967 section 3.2 and algorithm 1; where its published code differs, the code
decides, and ``ppo`` says where. The formulas themselves are in ``ppo``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from autodidact_contract.stages.training import TrainPpo
from autodidact_worker.models.policy import ActorCritic, Batch, collate
from autodidact_worker.training import distributed
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import ppo, rollouts
from autodidact_worker.training.online.loop import Plan, Steps
from autodidact_worker.training.online.rollouts import Answer

Reference = Callable[[Batch], Tensor]
"""Log-probabilities ``(B, T)`` of the model that training started from."""


@dataclass(frozen=True, kw_only=True)
class Experience:
    """Answers of one forward pass with all that is fixed while they are learned from.

    Attributes:
        batch: The answers; ``B`` of them with ``T`` actions.
        log_probs: ``(B, T)`` float32, of the policy that sampled them.
        values: ``(B, T)`` float32, of its value head.
        advantages: ``(B, T)`` float32, whitened over all ranks' answers.
        returns: ``(B, T)`` float32.
    """

    batch: Batch
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


_LEARNED = ("loss", "policyLoss", "valueLoss", "ratio", "clipFraction")
"""Figures of an optimiser step, each averaged as the loss is."""


class Ppo:
    """Learns from rollouts by PPO with a clipped objective and a clipped value loss."""

    def __init__(
        self, engine: Engine, reference: Reference, pad: int, config: TrainPpo, plan: Plan
    ) -> None:
        """Keeps what learns, the reference that it is to stay near, and how it learns.

        Args:
            engine: Around an ``ActorCritic``; its parameter groups are the backbone and the head.
            reference: The frozen start.
            pad: Token to fill up rows with.
            config: The hyperparameters.
            plan: The sizes.
        """
        self._engine, self._reference, self._pad = engine, reference, pad
        self._config, self._plan = config, plan
        self._total = partial(distributed.total, layout=engine.layout)

    def learn(self, answers: list[Answer], steps: Steps) -> dict[str, float]:
        """Learns from our share of a rollout and returns figures of it."""
        config, plan = self._config, self._plan
        experiences, figures = self._look_back(answers)
        warm_up = config.value_warmup_steps * plan.steps // plan.rollouts
        warming_up = steps.taken < warm_up
        if steps.taken == warm_up > 0:
            self._engine.begin_anew()
        for _ in range(config.passes):
            for first in range(0, len(experiences), plan.accumulation):
                mini_batch = experiences[first : first + plan.accumulation]
                self._step(mini_batch, steps, head_only=warming_up)
        return figures

    def _look_back(self, answers: list[Answer]) -> tuple[list[Experience], dict[str, float]]:
        """Returns the experiences in the order of their passes: rewards, advantages, returns."""
        config, plan = self._config, self._plan
        groups = rollouts.arranged(answers, plan.step, plan.micro)
        batches = [
            collate([(a.prompt, a.ids) for a in group], self._pad, self._engine.device)
            for group in groups
        ]
        scores = torch.tensor(
            [a.reward for group in groups for a in group], device=self._engine.device
        )  # (N,)
        # In the very batches of the passes to come, so that their first ratio is exactly 1.
        with torch.no_grad():
            said = [self._engine(batch) for batch in batches]
            reference = _together([self._reference(batch) for batch in batches])  # (N, T)
        mask = _together([batch.mask for batch in batches])
        log_probs = _together([log_probs for log_probs, _ in said])
        values = _together([values for _, values in said])
        kl = log_probs - reference
        rewards = ppo.token_rewards(scores, kl, mask, config.beta)
        raw, returns = ppo.gae(rewards, values, mask, config.gamma, config.gae_lambda)
        advantages = ppo.whiten(raw, mask, self._total)
        experiences = [
            Experience(
                batch=batch,
                log_probs=old_log_probs,
                values=old_values,
                advantages=own_advantages[:, : batch.mask.shape[1]],
                returns=own_returns[:, : batch.mask.shape[1]],
            )
            for batch, (old_log_probs, old_values), own_advantages, own_returns in zip(
                batches, said, advantages.split(plan.micro), returns.split(plan.micro), strict=True
            )
        ]
        mean, variance = ppo.moments(raw, mask, self._total)
        found = {
            "kl": self._total(ppo.sequence_kl(kl, mask).sum()) / plan.batch,
            "return": ppo.moments(returns, mask, self._total)[0],
            "advantageMean": mean,
            "advantageVariance": variance,
            "explainedVariance": ppo.explained_variance(values, returns, mask, self._total),
        }
        figures = {name: float(value) for name, value in found.items()}
        return experiences, figures | {"klReward": -config.beta * figures["kl"]}

    def _step(self, mini_batch: Sequence[Experience], steps: Steps, *, head_only: bool) -> None:
        """Takes an optimiser step; every pass and every rank has equally many answers."""
        engine = self._engine
        cast("ActorCritic", engine.network).head_only = head_only
        rate = steps.rate
        sums = torch.zeros(len(_LEARNED), device=engine.device)
        for number, experience in enumerate(mini_batch, 1):
            with engine.accumulating(last=number == len(mini_batch)):
                loss, figures = self._loss(experience, head_only=head_only)
                engine.backward(loss)
            sums += figures
        norm = engine.step([0.0 if head_only else rate, rate])
        passes = len(mini_batch) * engine.layout.world
        means = (self._total(sums) / passes).tolist()
        steps.done(norm=norm, **dict(zip(_LEARNED, means, strict=True)))

    def _loss(self, seen: Experience, *, head_only: bool) -> tuple[Tensor, Tensor]:
        """Returns the loss of a pass, a mean over its answers, and the figures of ``_LEARNED``."""
        config, mask = self._config, seen.batch.mask
        log_probs, values = self._engine(seen.batch)
        policy = ppo.policy_losses(
            log_probs, seen.log_probs, seen.advantages, mask, config.clip_ratio
        ).mean()
        value = ppo.value_losses(values, seen.values, seen.returns, mask, config.clip_value).mean()
        # Times 0 rather than left out, see ``ActorCritic``.
        loss = policy * (0.0 if head_only else 1.0) + config.value_coefficient * value
        with torch.no_grad():
            ratio = ppo.ratios(log_probs, seen.log_probs, mask)
            clipped = ppo.clip_fractions(ratio, mask, config.clip_ratio).mean()
            figures = [loss, policy, value, ppo.answer_means(ratio, mask).mean(), clipped]
            return loss, torch.stack(figures)


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Returns the rows of several ``(B, T)`` as one tensor, filled up to the largest T."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([functional.pad(part, (0, width - part.shape[1])) for part in parts])
