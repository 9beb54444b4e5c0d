"""Measures the model of a library's trainer during training, and keeps the best weights.

``Measuring`` is the mechanism: when to measure, whose weights to keep on disk and to put back, and
how all of it survives an interruption. What is measured is a ``Yardstick``'s to say: accuracy on
questions, or battles with the best model so far.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trl.models.utils import unwrap_model_for_generation

from autodidact_contract.artifacts import Mean
from autodidact_contract.stages.base import StageConfig
from autodidact_worker.models import lora
from autodidact_worker.runtime.frame import Context
from autodidact_worker.training import best
from autodidact_worker.training.best import BEST
from autodidact_worker.training.distributed import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


class Yardstick(Protocol):
    """A kind of measurement."""

    @property
    def kept(self) -> int:
        """Step of the model that is the result if training ends now."""

    @property
    def enough(self) -> bool:
        """Whether training is to end."""

    def is_due(self, rounds: int, *, last: bool) -> bool:
        """Returns whether the model after so many rounds of the trainer is to be measured."""

    def measure(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", step: int, layout: Layout
    ) -> bool:
        """Measures a model, all ranks together, and returns whether its weights are to be kept.

        Args:
            model: As transformers has it, with whole weights, on every rank.
            tokenizer: Of the model.
            step: Optimiser steps so far; at 0 it is the model that training starts from.
            layout: Whose share is ours.

        Raises:
            StoppedError: On every rank, where any was asked to stop; nothing was measured.
        """

    def lines(self) -> list[dict[str, float]]:
        """Returns the measurements as lines of the training curve."""

    def counts(self) -> dict[str, int]:
        """Returns what this rank counted, earlier attempts included; summed over the ranks."""

    def figures(self) -> tuple[dict[str, int], dict[str, Mean]]:
        """Returns counts and metrics that are the same on every rank."""

    def state(self) -> Mapping[str, Any]:
        """Returns what this rank has to know after an interruption, as plain JSON."""

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` returned."""


class Measuring:
    """Measures a model on the way and keeps the best one's trained weights on disk.

    Attributes:
        yardstick: What is measured.
        step: Step of the last measurement; -1 before the first one.
    """

    def __init__(self, context: Context[StageConfig], yardstick: Yardstick) -> None:
        self.yardstick = yardstick
        self.step = -1
        self._best = context.scratch / BEST

    def measure(self, trainer: Any, layout: Layout) -> None:
        """Measures the trainer's model; keeps its weights if it is the best.

        What answers is the trainer's own model. A copy of it would not do: the trainers replace
        its ``forward`` by one that is bound to the original.

        Raises:
            StoppedError: On every rank, where any was asked to stop; nothing was measured.
        """
        step = trainer.state.global_step
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            keep = self.yardstick.measure(lora.plain(model), trainer.processing_class, step, layout)
        self.step = step
        if keep:
            best.keep(trainer.accelerator.unwrap_model(trainer.model), self._best, layout)

    def restore(self, trainer: Any, layout: Layout) -> None:
        """Puts the weights of the result into the model, if it is not as it was then."""
        kept = self.yardstick.kept
        if kept < trainer.state.global_step:
            log.info("keeping the model of step %d", kept)
            best.put_back(trainer.accelerator.unwrap_model(trainer.model), self._best, layout)

    def save(self, folder: Path, layout: Layout) -> None:
        """Writes what a resumed training needs to a checkpoint's folder; every rank its own."""
        state = {"step": self.step, "yardstick": self.yardstick.state()}
        (folder / _state(layout)).write_text(json.dumps(state))
        if self._best.exists():
            shutil.copyfile(self._best, folder / BEST)

    def load(self, folder: Path, layout: Layout) -> None:
        """Takes up what ``save`` wrote."""
        state = json.loads((folder / _state(layout)).read_text())
        self.step = state["step"]
        self.yardstick.resume(state["yardstick"])
        if layout.rank == 0 and (folder / BEST).exists():
            shutil.copyfile(folder / BEST, self._best)


def _state(layout: Layout) -> str:
    return f"measured-{layout.rank}.json"
