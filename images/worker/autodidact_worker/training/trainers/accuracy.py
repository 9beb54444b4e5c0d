"""A yardstick: accuracy on validation questions. See ``measuring``."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Problem
from autodidact_contract.stages.base import StageConfig
from autodidact_contract.stages.training import Validation
from autodidact_worker.answers import grading
from autodidact_worker.answers.grading import Grader
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context
from autodidact_worker.training import validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.validation import Measurements

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


class ByAccuracy:
    """Greedy decoding of the validation split."""

    def __init__(
        self, context: Context[StageConfig], config: Validation, grader: Grader, epoch_rounds: float
    ) -> None:
        """Reads the validation split.

        Args:
            context: With the input ``validation``.
            config: How often, on how much, and what to keep.
            grader: Made with ``config.answers``.
            epoch_rounds: Rounds of the trainer in one pass over the training rows, see ``Adapter``.
        """
        self.problems = rows.read(context.inputs["validation"].path / rows.DATA, Problem)
        self._measurements = Measurements(config)
        self._config, self._grader, self._epoch_rounds = config, grader, epoch_rounds
        self._stopping = context.stopping
        self._counted: dict[str, int] = {}

    @property
    def kept(self) -> int:
        """Step of the result."""
        return self._result[0]

    @property
    def enough(self) -> bool:
        """Whether the last accuracy is at least ``until``."""
        return self._measurements.enough

    def is_due(self, rounds: int, *, last: bool) -> bool:
        """Returns whether the model after so many rounds is to be measured."""
        return validation.is_due(self._config, rounds, self._epoch_rounds, last=last)

    def measure(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", step: int, layout: Layout
    ) -> bool:
        """Measures a model's accuracy and returns whether it is the one to keep."""
        found = validation.measure(
            *(model, tokenizer, self.problems, self._config, self._grader, layout, self._stopping)
        )
        log.info("accuracy=%.3f step=%d cut=%d", found.value, step, found.cut)
        return self._measurements.add(step, found.value)

    def lines(self) -> list[dict[str, float]]:
        """Returns step and accuracy of each measurement."""
        return self._measurements.lines()

    def counts(self) -> dict[str, int]:
        """Returns what the grader counted, earlier attempts included."""
        return grading.added(self._counted, self._grader.counts())

    def figures(self) -> tuple[dict[str, int], dict[str, Mean]]:
        """Returns which model is kept, and its accuracy."""
        step, accuracy = self._result
        asked = min(len(self.problems), self._config.questions)
        # Where a sandbox lacks something the graders' count has it.
        return {"keptStep": step, "sandbox-missing": 0}, {
            "accuracy": Mean(total=accuracy * asked, weight=asked)
        }

    def state(self) -> Mapping[str, Any]:
        """Returns measurements and counts."""
        return {"measured": self._measurements.measured, "counts": self.counts()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` returned."""
        self._measurements.measured = [(step, value) for step, value in state["measured"]]
        self._counted = state["counts"]

    @property
    def _result(self) -> tuple[int, float]:
        result = self._measurements.result
        assert result  # the first measurement is before the first step
        return result
