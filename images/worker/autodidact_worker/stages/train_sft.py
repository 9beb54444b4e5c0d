"""Stage ``train-sft``: a model learns to write the targets of its rows, mixed from all inputs.

- **Instructions and judgements**: M1 of self-rewarding. Judgements are learned in the judge's own
  prompt: that the model can judge is what the rest of the method stands on. Source: arXiv
  2401.10020 section 2.1 and 3.1.3; the number of epochs is not in the paper.
- **Positives**: replies that got the best score in a round, beside the seed data. Source: arXiv
  2401.10020 section 2.4, the contrast to learning from pairs.
- **Questions**: the warm-up of ReFT, and its baselines that are SFT. Source: arXiv 2401.08967
  section 4.3.

Only what is to be written, with its end token, is learned.
"""

from autodidact_contract.records import Evaluation, Instruction, Problem
from autodidact_contract.stages.training import TrainSft
from autodidact_worker.answers.grading import Grader
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.start import Row, Start
from autodidact_worker.training.trainers import sft
from autodidact_worker.training.trainers.accuracy import ByAccuracy
from autodidact_worker.training.trainers.measuring import Measuring


def run(context: Context[TrainSft]) -> Output:
    """Trains and writes the model and its curve (``training_log.jsonl``).

    Inputs: model; at least one of instructions, evaluations, questions; positives-<t> of any
    rounds; validation for ``config.validation``.

    Raises:
        UserError: ``NothingToLearn``, or a row or the model cannot be used; see ``sft``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    layout = Layout.of_environment()
    distributed.join(layout)
    begin = start.start(context.inputs["model"].path, config, layout)
    texts = [
        *_instructions(context),
        *_positives(context),
        *_evaluations(context),
        *_questions(context),
    ]
    if not texts:
        raise UserError(
            "NothingToLearn",
            "the stage has none of the inputs instructions, evaluations and questions; give one",
        )
    found = [
        start.tokenize(begin.tokenizer, name, prompt, [target], begin.limit)
        for name, prompt, target in texts
    ]
    if config.validation is None:
        return sft.train(context, begin, found, layout)
    return _measured(context, begin, found, layout)


def _measured(context: Context[TrainSft], begin: Start, found: list[Row], layout: Layout) -> Output:
    config = context.config
    assert config.validation is not None
    with Grader(config.validation.answers) as grader:
        epoch_rounds = len(found) / config.batch_size
        by_accuracy = ByAccuracy(context, config.validation, grader, epoch_rounds)
        return sft.train(context, begin, found, layout, Measuring(context, by_accuracy))


def _instructions(context: Context[TrainSft]) -> list[tuple[str, str, str]]:
    if "instructions" not in context.inputs:
        return []
    path = context.inputs["instructions"].path / rows.DATA
    return [
        (f"instructions row {number}", row.prompt, row.response)
        for number, row in enumerate(rows.read(path, Instruction), 1)
    ]


def _positives(context: Context[TrainSft]) -> list[tuple[str, str, str]]:
    """Returns what the rounds added; one of them may have found nothing."""
    names = sorted(name for name in context.inputs if name.startswith("positives-"))
    return [
        (f"{name} row {number}", row.prompt, row.response)
        for name in names
        for number, row in enumerate(
            rows.read(context.inputs[name].path / rows.DATA, Instruction, empty=True), 1
        )
    ]


def _evaluations(context: Context[TrainSft]) -> list[tuple[str, str, str]]:
    if "evaluations" not in context.inputs:
        return []
    path, rubric = (
        context.inputs["evaluations"].path / rows.DATA,
        rubrics.get(context.config.rubric),
    )
    return [
        (
            f"evaluations row {number}",
            judgement.render(rubric, row.prompt, row.response),
            row.judgement,
        )
        for number, row in enumerate(rows.read(path, Evaluation), 1)
    ]


def _questions(context: Context[TrainSft]) -> list[tuple[str, str, str]]:
    if "questions" not in context.inputs:
        return []
    path = context.inputs["questions"].path / rows.DATA
    return [(f"question {row.id}", row.prompt, row.target) for row in rows.read(path, Problem)]
