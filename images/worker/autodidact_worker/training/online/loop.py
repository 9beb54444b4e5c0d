"""The loop of online training: sample, grade, learn; measure, save and stop in between.

What is learned from a rollout is the caller's; PPO and online self-training share all else.
Checkpoints lie between rollouts, and nothing random is kept in memory, so a training that is killed
anywhere and resumed on CPU ends with the very bits of an undisturbed one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Problem
from autodidact_contract.stages.base import StageConfig
from autodidact_contract.stages.training import Online
from autodidact_worker.answers import grading
from autodidact_worker.answers.grading import Grader
from autodidact_worker.generation import Completion
from autodidact_worker.models import lora
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.clock import Clock
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import best, distributed, health, schedule, start, validation
from autodidact_worker.training import state as saving
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import rollouts
from autodidact_worker.training.online.rollouts import Answer, Sampler, Score, Visit
from autodidact_worker.training.online.saved import Keeper
from autodidact_worker.training.start import Start
from autodidact_worker.training.validation import Measurements

log = logging.getLogger(__name__)

REPORTED = ("loss", "reward", "sampledAccuracy", "truncation", "unread", "clipFraction")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of a training.

    Attributes:
        rollouts: How many; epochs are rounded to whole ones, at least one.
        batch: Questions, and answers, of a rollout.
        step: Answers of an optimiser step on one rank.
        micro: Answers of a forward pass.
        steps: Optimiser steps of all rollouts.
        questions: Questions of an epoch.
    """

    rollouts: int
    batch: int
    step: int
    micro: int
    steps: int
    questions: int

    @property
    def accumulation(self) -> int:
        """Forward passes of a rank that make a step."""
        return self.step // self.micro


def plan(config: Online, questions: int, mini: int | None, layout: Layout) -> Plan:
    """Returns the sizes of a training.

    Args:
        config: Epochs, passes and batch sizes.
        questions: Number of training questions.
        mini: Answers of an optimiser step over all ranks; None: the whole batch.
        layout: Number of processes.

    Raises:
        UserError: ``InvalidBatchSize``: they do not divide each other.
    """
    batch, world = config.batch_size, layout.world
    mini = mini or batch
    micro = config.micro_batch_size or max(1, mini // world)
    if batch % mini or mini % (world * micro):
        raise UserError(
            "InvalidBatchSize",
            f"batchSize {batch} is not a multiple of miniBatchSize {mini}, or that is not one of "
            f"{world} processes x microBatchSize {micro}; choose others",
        )
    rollouts_ = max(1, round(config.epochs * questions / batch))
    return Plan(
        rollouts=rollouts_,
        batch=batch,
        step=mini // world,
        micro=micro,
        steps=rollouts_ * config.passes * (batch // mini),
        questions=questions,
    )


def problems(context: Context[StageConfig], name: str) -> list[Problem]:
    """Returns the questions of an input."""
    return rows.read(context.inputs[name].path / rows.DATA, Problem)


class Steps:
    """Optimiser steps: the rate before each; report and health after it."""

    def __init__(self, config: Online, total: int, taken: int, report: Callable[..., None]) -> None:
        """Starts counting.

        Args:
            config: The schedule.
            total: Steps of the whole training.
            taken: Steps before this attempt.
            report: Called with step, total and figures after each.
        """
        self._config, self._total, self._report = config, total, report
        self._figures: list[dict[str, float]] = []
        self.taken = taken

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return schedule.learning_rate(self._config, self.taken, self._total)

    def done(self, *, loss: float, norm: float, **more: float) -> None:
        """Notes a step; its figures must be the same on every rank.

        Raises:
            UserError: ``NaNLoss``.
        """
        rate = self.rate
        self.taken += 1
        health.check_step(self.taken, self._total, loss=loss, norm=norm, rate=rate)
        self._figures.append({"loss": loss, "gradNorm": norm, "learningRate": rate, **more})
        self._report(self.taken, self._total, loss=loss, learningRate=rate)

    def means(self) -> dict[str, float]:
        """Returns the mean of each figure over the steps since this was last called.

        The learning rate is that of the last one.
        """
        taken, self._figures = self._figures, []
        means = {name: sum(step[name] for step in taken) / len(taken) for name in taken[0]}
        return {**means, "learningRate": taken[-1]["learningRate"]}


Learn = Callable[[list[Answer], Steps], dict[str, float]]
"""Learns from our share of a rollout and returns figures of it, the same on every rank."""


class Loop:
    """An online training, from its checkpoint or its start to its output."""

    def __init__(
        self, context: Context[Online], begin: Start, plan: Plan, engine: Engine, score: Score
    ) -> None:
        """Reads the questions; takes up the latest checkpoint, if there is one.

        Args:
            context: The stage.
            begin: What the engine's network was made of.
            plan: Sizes.
            engine: What learns.
            score: Terminal reward of an answer.

        Raises:
            UserError: ``PromptTooLong``, ``InvalidData``, ``DropoutNotApplicable``, or
                ``WrongWorldSize``: the checkpoint is one of other processes.
        """
        self._context, self._begin, self._plan = context, begin, plan
        self._config = context.config
        health.check_dropout(self._config)
        self._engine, self._layout, self._score = engine, engine.layout, score
        self._sampler = Sampler(
            problems(context, "questions"),
            begin.tokenizer,
            begin.limit,
            self._config,
            self._layout,
        )
        self._held_out = problems(context, "validation")
        self._latest: dict[str, float] = {}
        self._keeper = Keeper(context, engine)
        self._state = self._keeper.resumed()
        self._clock = Clock(self._state.seconds)
        self._measurements = Measurements(self._config.validation, self._state.measured)
        self._steps = Steps(self._config, plan.steps, self._state.steps, self._report)

    @property
    def rollouts(self) -> int:
        """Rollouts that were learned from so far."""
        return self._state.rollouts

    def run(self, learn: Learn, max_kl: float | None = None) -> Output:
        """Trains, writes the model and its curve, and returns what was measured.

        Args:
            learn: What is done with a rollout.
            max_kl: Training ends after a rollout whose figure ``kl`` is larger.

        Raises:
            StoppedError: Asked to stop; a checkpoint is in the store.
            UserError: ``NoReward``, ``AllAnswersCut`` or ``NaNLoss``.
        """
        config = self._config
        with Grader(config.answers) as grader, grader.beside(config.validation.answers) as examiner:
            try:
                self._train(grader, examiner, learn, max_kl)
            except StoppedError:
                self._save(grader)  # every rank was stopped, and before anything else was learned
                where = f"rollout {self._state.rollouts} of {self._plan.rollouts}"
                raise saving.stopped(where, self._keeper.saved) from None
            counts = self._counts(grader)
        self._report(self._state.steps, self._plan.steps)
        log.info("phases %s", self._clock)
        self._write()
        return self._output(counts)

    def _train(self, grader: Grader, examiner: Grader, learn: Learn, max_kl: float | None) -> None:
        """Trains to the end; what is done next depends on nothing but the state."""
        over = enough = False
        while not (over or enough):
            over = self._is_over(max_kl)
            enough = self._is_due(last=over) and self.measure(examiner)
            if not (over or enough):
                self._pause(grader)
                self._roll_out(grader, learn)
                self._check_health()

    def _is_over(self, max_kl: float | None) -> bool:
        state = self._state
        last = next((line for line in reversed(state.lines) if "loss" in line), {})
        return state.rollouts == self._plan.rollouts or _exploded(last, max_kl)

    def _roll_out(self, grader: Grader, learn: Learn) -> None:
        state, plan = self._state, self._plan
        visits = self._sampler.share(
            rollouts.visits(
                plan.questions, state.rollouts * plan.batch, plan.batch, self._config.seed
            )
        )
        with self._clock("sampling"), self._engine.whole() as model:
            completions = self._sampled(model, visits)
            size = _norm(model)
        with self._clock("reward"):
            answers = self._sampler.graded(visits, completions, grader, self._score)
        with self._clock("learning"):
            learned = learn(answers, self._steps)
        figures = {
            **rollouts.figures(answers, self._layout),
            **self._steps.means(),
            **learned,
            "parameterNorm": size,
        }
        state.rollouts += 1
        state.steps = self._steps.taken
        state.lines.append({"step": state.rollouts, **figures})
        state.rewarded |= figures["rewarded"] > 0
        state.ended |= figures["truncation"] < 1
        tokens = round(figures["answerLength"] * plan.batch)
        state.answers += plan.batch
        state.tokens += tokens
        self._latest = {k: figures[k] for k in ("reward", "sampledAccuracy", "kl") if k in figures}

    def _sampled(self, model: Any, visits: Sequence[Visit]) -> list[Completion]:
        """Returns our answers, or stops where any rank was asked to."""
        try:
            found = self._sampler.sample(model, visits, self._context.stopping)
        except StoppedError:
            found = []
        asked = not found or self._context.stopping()
        stop, _ = distributed.agreed(asked, False, self._layout)
        if stop:
            raise StoppedError
        return found

    def _check_health(self) -> None:
        """Raises if what was sampled so far teaches nothing, once there was enough of it."""
        state, plan = self._state, self._plan
        if state.rollouts == health.trial(plan.rollouts, plan.questions, plan.batch):
            health.check(
                self._config,
                rollouts=state.rollouts,
                answers=state.answers,
                ended=state.ended,
                rewarded=state.rewarded,
                limit=self._begin.limit,
            )

    def _is_due(self, *, last: bool) -> bool:
        """Returns whether the model as it is now is to be measured, and has not been."""
        now, measured = self._state.rollouts, self._state.measured
        if measured and measured[-1][0] == now:
            return False
        epoch = self._plan.questions / self._plan.batch
        return validation.is_due(self._config.validation, now, epoch, last=last)

    def measure(self, examiner: Grader) -> bool:
        """Measures the model, keeps it if it is the best, and returns whether it is enough.

        Raises:
            StoppedError: On every rank, where any was asked to stop; nothing was measured.
        """
        state = self._state
        with self._clock("validation"), self._engine.whole() as model:
            found = validation.measure(
                lora.plain(model),
                self._begin.tokenizer,
                self._held_out,
                self._config.validation,
                examiner,
                self._layout,
                self._context.stopping,
            )
            if self._measurements.add(state.rollouts, found.value):
                best.keep(model, self._keeper.best, self._layout)
        state.lines.append({"step": state.rollouts, "accuracy": found.value})
        log.info(
            *("accuracy=%.3f rollout=%d of %d cut=%d", found.value, state.rollouts),
            *(self._plan.rollouts, found.cut),
        )
        return self._measurements.enough

    # Checkpoints.

    def _pause(self, grader: Grader) -> None:
        """Saves if a checkpoint is due.

        Raises:
            StoppedError: On every rank, where any was asked to stop.
        """
        stopping = self._context.stopping()
        stop, save = distributed.agreed(stopping, self._keeper.due, self._layout)
        if stop:
            raise StoppedError
        if save:
            self._save(grader)

    def _save(self, grader: Grader) -> None:
        graded, seconds = self._graded(grader), self._clock.seconds
        self._keeper.save(replace(self._state, graded=graded, seconds=seconds))

    # What comes out.

    def _write(self) -> None:
        """Writes the model, the best or the last, and its curve."""
        with self._engine.whole() as model:
            if self._config.validation.keep == "best":
                best.put_back(model, self._keeper.best, self._layout)
            if self._layout.rank:
                return
            start.write(self._context.out, lora.merged(model), self._begin, self._state.lines)

    def _output(self, counts: dict[str, int]) -> Output:
        state = self._state
        curve = [line for line in state.lines if "loss" in line]
        metrics = schedule.closing_means(curve, REPORTED)
        if curve and "kl" in curve[-1]:
            metrics["lastKl"] = Mean(total=curve[-1]["kl"])
        asked = min(len(self._held_out), self._config.validation.questions)
        result = self._measurements.result
        assert result  # the first measurement is before the first rollout
        kept, accuracy = result
        metrics["accuracy"] = Mean(total=accuracy * asked, weight=asked)
        return Output(
            counts={**counts, "keptStep": kept},
            metrics=metrics,
            seconds=self._clock.seconds,
            world_size=self._layout.world,
            deepspeed=self._layout.deepspeed,
        )

    def _counts(self, grader: Grader) -> dict[str, int]:
        state, graded = self._state, self._graded(grader)
        return {
            "rows": self._plan.questions,
            "rollouts": state.rollouts,
            "steps": state.steps,
            "answers": state.answers,
            "tokens": state.tokens,
            "trainableParameters": self._engine.trained,
            "sandbox-missing": 0,
            **graded,
        }

    def _graded(self, grader: Grader) -> dict[str, int]:
        """What the graders of all ranks and of earlier attempts counted."""
        found = self._state.graded
        for counts in distributed.everyone(grader.counts(), self._layout):
            found = grading.added(found, counts)
        return found

    def _report(self, step: int, total: int, **metrics: float) -> None:
        times = {f"{phase}Seconds": seconds for phase, seconds in self._clock.seconds.items()}
        self._context.progress(step, total, **metrics, **self._latest, **times)


def _exploded(figures: Mapping[str, float], max_kl: float | None) -> bool:
    if max_kl is None or figures.get("kl", 0.0) <= max_kl:
        return False
    log.warning("training ends: the KL of an answer is %.3g, over maxKl %g", figures["kl"], max_kl)
    return True


def _norm(model: nn.Module) -> float:
    """The norm of all weights that are trained."""
    trained = [weight.detach() for weight in model.parameters() if weight.requires_grad]
    return float(torch.nn.utils.get_total_norm(trained))
