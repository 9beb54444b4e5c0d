"""Measures accuracy on the validation split during training, and says which model is the best.

Training chooses its result here and never looks at the test split. Departure from arXiv 2401.08967,
whose published code chooses the best epoch on the test split.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from autodidact_contract.records import Problem
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.training import Validation
from autodidact_worker.answers.grading import Grader
from autodidact_worker.generation import Request, seed_key
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What greedy decoding got right.

    Attributes:
        correct: Right answers.
        asked: Questions.
        cut: Answers that were cut.
    """

    correct: int
    asked: int
    cut: int

    @property
    def value(self) -> float:
        """Share of right answers, in [0, 1]."""
        return self.correct / self.asked


def measure(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    problems: Sequence[Problem],
    config: Validation,
    grader: Grader,
    layout: Layout,
    stopping: Callable[[], bool] = lambda: False,
) -> Accuracy:
    """Returns the accuracy of greedy decoding; every rank calls it and gets the same.

    Args:
        model: As transformers has it, with whole weights (under ZeRO-3: gathered, hooks removed).
            Its mode is evaluation meanwhile and as before afterwards.
        tokenizer: Of the model.
        problems: The validation split; the first ``config.questions`` count, split over the ranks.
        config: Number of questions and length of answers.
        grader: Made with ``config.answers``; ranks grade their own share.
        layout: Whose share is ours.
        stopping: Whether this rank was asked to stop; looked at between two batches.

    Raises:
        UserError: ``PromptTooLong``: a question leaves no room in the model's context.
        StoppedError: On every rank, where any was asked to stop.
    """
    ours = problems[: config.questions][layout.rank :: layout.world]
    generator = TransformersGenerator(model, tokenizer)
    requests = [
        Request(
            id=problem.id,
            prompt=problem.prompt,
            n=1,
            seed_key=seed_key(0, "validation", problem.id),  # greedy: there is no noise
            max_new_tokens=generator.room(problem.prompt, config.max_new_tokens),
        )
        for problem in ours
    ]
    greedy = Sampling(temperature=0, top_p=1, max_new_tokens=config.max_new_tokens)
    try:
        with evaluating(model):
            found = generator.generate(requests, greedy, stopping=stopping)
    except StoppedError:
        found = []
    stopped, _ = distributed.agreed(len(found) < len(ours), False, layout)
    if stopped:
        raise StoppedError
    answers = [completions[0] for completions in found]
    grades = grader.grade(
        [(problem, answer.text) for problem, answer in zip(ours, answers, strict=True)]
    )
    correct, asked, cut = distributed.summed(
        [
            sum(grade.correct for grade in grades),
            len(ours),
            sum(answer.finish == "length" for answer in answers),
        ],
        layout,
    )
    return Accuracy(correct=round(correct), asked=round(asked), cut=round(cut))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode, and back."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def is_due(config: Validation, step: int, epoch_steps: float, *, last: bool) -> bool:
    """Returns whether the model after ``step`` steps is to be measured.

    Before the first step (0), after the last one, and at the first step at or after each multiple
    of ``every_epochs``.

    Args:
        config: How often.
        step: Steps done.
        epoch_steps: Steps of one pass over the rows.
        last: Whether no step follows.
    """
    interval = config.every_epochs * epoch_steps
    return step == 0 or last or step // interval > (step - 1) // interval


@dataclass
class Measurements:
    """The accuracies measured so far, and what follows from them.

    Attributes:
        config: What to keep, and when it is enough.
        measured: Step and accuracy of each, in order; all of it, as pairs, is what a checkpoint
            needs.
    """

    config: Validation
    measured: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, accuracy: float) -> bool:
        """Takes a measurement in and returns whether its model is to be kept as the best.

        Of equals the earlier is the better. With ``keep: last`` none is to be kept.
        """
        better = self.best is None or accuracy > self.best[1]
        self.measured.append((step, accuracy))
        return better and self.config.keep == "best"

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and accuracy of the best model so far, None before the first measurement."""
        return max(self.measured, key=lambda pair: pair[1], default=None)

    @property
    def result(self) -> tuple[int, float] | None:
        """Step and accuracy of the model that is the stage's result if training ends now."""
        return self.best if self.config.keep == "best" else self.measured[-1]

    @property
    def enough(self) -> bool:
        """Whether the last measurement is at least ``until``."""
        until = self.config.until
        return until is not None and bool(self.measured) and self.measured[-1][1] >= until

    def lines(self) -> list[dict[str, float]]:
        """Returns the measurements as lines of the training curve."""
        return [{"step": step, "accuracy": accuracy} for step, accuracy in self.measured]
