"""Learns from a rollout by online self-training: right samples, and the given targets.

Half of the loss is the cross-entropy of the sampled answers that are right, half that of the given
targets of the same questions; nothing is learned from wrong answers and nothing holds the model
near its start. Each half is a mean over all tokens of the batch. Source: arXiv 2401.08967 section
4.2 and its published code. Departures: the mean is over all ranks' tokens, where the code averages
each rank's mean, and dropout is off.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from autodidact_contract.stages.training import TrainOnlineSt
from autodidact_worker.models.policy import collate
from autodidact_worker.training import distributed
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import rollouts
from autodidact_worker.training.online.loop import Plan, Steps
from autodidact_worker.training.online.rollouts import Answer
from autodidact_worker.training.start import Row


class SelfTraining:
    """Learns from right samples and given targets."""

    def __init__(
        self, engine: Engine, golden: dict[str, Row], pad: int, config: TrainOnlineSt, plan: Plan
    ) -> None:
        """Keeps what learns, and the targets that it learns from besides its samples.

        Args:
            engine: Around a ``Policy``.
            golden: The given target of each question by its id.
            pad: Token to fill up rows with.
            config: The hyperparameters.
            plan: The sizes.
        """
        self._engine, self._golden, self._pad = engine, golden, pad
        self._config, self._plan = config, plan

    def learn(self, answers: list[Answer], steps: Steps) -> dict[str, float]:
        """Learns from our share of a rollout."""
        plan, layout = self._plan, self._engine.layout
        groups = rollouts.arranged(answers, plan.step, plan.micro)
        right, given = distributed.summed(
            [
                sum(len(answer.ids) for answer in answers if answer.grade.correct),
                sum(len(self._target(answer)) for answer in answers),
            ],
            layout,
        )
        weights = (0.5 / max(1.0, right), 0.5 / given)
        for _ in range(self._config.passes):
            self._step(groups, weights, steps)
        return {}

    def _step(
        self, groups: Sequence[list[Answer]], weights: tuple[float, float], steps: Steps
    ) -> None:
        """Takes an optimiser step on a whole rollout.

        Args:
            groups: The answers of each pass.
            weights: Of a token of a right answer, and of a token of a given target.
            steps: Takes note.
        """
        engine = self._engine
        sums = torch.zeros((), device=engine.device)
        for number, group in enumerate(groups, 1):
            with engine.accumulating(last=number == len(groups)):
                loss = self._loss(group, weights)
                # Of means over passes and ranks the engine makes the mean; these add up.
                engine.backward(loss * len(groups) * engine.layout.world)
            sums += loss.detach()
        norm = engine.step([steps.rate])
        steps.done(norm=norm, loss=float(distributed.total(sums, engine.layout)))

    def _loss(self, group: Sequence[Answer], weights: tuple[float, float]) -> Tensor:
        """Returns what a pass adds to the loss; wrong answers go through it with weight 0.

        So all passes are of one shape on every rank, which DDP and ZeRO-3 need.
        """
        sampled = [(answer.prompt, answer.ids) for answer in group]
        given = [(answer.prompt, self._target(answer)) for answer in group]
        batch = collate([*sampled, *given], self._pad, self._engine.device)
        row_weights = [weights[0] * answer.grade.correct for answer in group]
        row_weights += [weights[1]] * len(group)
        log_probs = torch.where(batch.mask, self._engine(batch), 0.0).sum(1)  # (2B,)
        return -(log_probs * torch.tensor(row_weights, device=self._engine.device)).sum()

    def _target(self, answer: Answer) -> list[int]:
        return self._golden[answer.problem.id].targets[0]
