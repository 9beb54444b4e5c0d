"""Measurements of a library trainer's model on the way, and the weights of the best one."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from trl.models import unwrap_model_for_generation

from autodidact_contract.records import Problem
from autodidact_contract.stages import Validation
from autodidact_worker import adapters, distributed, grading, rows, validation
from autodidact_worker.distributed import Layout
from autodidact_worker.frame import Context
from autodidact_worker.grading import Grader
from autodidact_worker.validation import Measurements

log = logging.getLogger(__name__)

BEST = "best.safetensors"


class Measuring:
    """Measures a model by greedy decoding and keeps the best one's trained weights on disk."""

    def __init__(
        self, context: Context, config: Validation, grader: Grader, epoch_rounds: float
    ) -> None:
        """Reads the validation split.

        Args:
            context: With the input ``validation``.
            config: How often, on how much, and what to keep.
            grader: Made with ``config.answers``.
            epoch_rounds: Rounds of the trainer in one pass over the training rows, see ``Adapter``.
        """
        self.problems = rows.read(context.inputs["validation"].path / rows.DATA, Problem)
        self.measurements = Measurements(config)
        self._config, self._grader, self._epoch_rounds = config, grader, epoch_rounds
        self._best = context.scratch / BEST
        self._counted: dict[str, int] = {}

    def is_due(self, rounds: int, *, last: bool) -> bool:
        """Returns whether the model after so many rounds is to be measured."""
        return validation.is_due(self._config, rounds, self._epoch_rounds, last=last)

    def measure(self, trainer: Any, layout: Layout) -> float:
        """Returns the model's accuracy, all ranks together; keeps its weights if it is the best.

        What answers is the trainer's own model. A copy of it would not do: the trainers replace
        its ``forward`` by one that is bound to the original.
        """
        step = trainer.state.global_step
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            found = validation.measure(
                adapters.plain(model),
                trainer.processing_class,
                self.problems,
                self._config,
                self._grader,
                layout,
            )
        log.info("accuracy=%.3f step=%d cut=%d", found.value, step, found.cut)
        if self.measurements.add(step, found.value):
            _keep(trainer.accelerator.unwrap_model(trainer.model), self._best, layout)
        return found.value

    def restore(self, trainer: Any, layout: Layout) -> None:
        """Puts the weights of the result into the model, if it is not as it was then."""
        kept = self.measurements.best if self._config.keep == "best" else None
        if kept is not None and kept[0] < trainer.state.global_step:
            log.info("keeping the model of step %d with accuracy %.3f", *kept)
            _put_back(trainer.accelerator.unwrap_model(trainer.model), self._best, layout)

    @property
    def asked(self) -> int:
        """Questions of a measurement."""
        return min(len(self.problems), self._config.questions)

    def counts(self) -> dict[str, int]:
        """Returns what the grader counted, earlier attempts included."""
        return grading.added(self._counted, self._grader.counts())

    def save(self, folder: Path, layout: Layout) -> None:
        """Writes what a resumed training needs to a checkpoint's folder; every rank its own."""
        state = {"measured": self.measurements.measured, "counts": self.counts()}
        (folder / _state(layout)).write_text(json.dumps(state))
        if self._best.exists():
            shutil.copyfile(self._best, folder / BEST)

    def load(self, folder: Path, layout: Layout) -> None:
        """Takes up what ``save`` wrote."""
        state = json.loads((folder / _state(layout)).read_text())
        self.measurements.measured = [(step, value) for step, value in state["measured"]]
        self._counted = state["counts"]
        if layout.rank == 0 and (folder / BEST).exists():
            shutil.copyfile(folder / BEST, self._best)


def _state(layout: Layout) -> str:
    return f"measured-{layout.rank}.json"


def _keep(model: Any, path: Path, layout: Layout) -> None:
    """Writes the trained weights to a file of rank 0's."""
    weights = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            with distributed.whole(weight, layout):
                if layout.rank == 0:
                    weights[name] = weight.detach().to("cpu", copy=True).contiguous()
    if layout.rank == 0:
        save_file(weights, path)


def _put_back(model: Any, path: Path, layout: Layout) -> None:
    weights = load_file(path) if layout.rank == 0 else {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            with distributed.whole(weight, layout):
                if layout.rank == 0:
                    weight.data.copy_(weights[name])
