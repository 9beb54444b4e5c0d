"""Stage ``train-sft``: M1 from a base model, by SFT on instructions and judgements, mixed.

Judgements are learned in the judge's own prompt: that the model can judge is what the rest of the
method stands on. Only the reply, or the judgement, with its end token is learned. Source: arXiv
2401.10020 section 2.1 and 3.1.3; the number of epochs is not in the paper.
"""

from autodidact_contract.records import Evaluation, Instruction
from autodidact_contract.stages import TrainSft
from autodidact_worker import distributed, judging, rows, rubrics, trainers, training
from autodidact_worker.distributed import Layout
from autodidact_worker.frame import Context, Output


def run(context: Context) -> Output:
    """Trains and writes the model and its curve (``training_log.jsonl``).

    Inputs: model, instructions, and evaluations if the model shall learn to judge.

    Raises:
        UserError: A row or the model cannot be used; see ``trainers``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config: TrainSft = context.config
    layout = Layout.of_environment()
    distributed.join(layout)
    begin = training.start(context.inputs["model"].path, config, layout)
    texts = _instructions(context) + _evaluations(context)
    found = [
        training.tokenize(begin.tokenizer, name, prompt, [target], begin.limit)
        for name, prompt, target in texts
    ]
    return trainers.sft(context, begin, found, layout)


def _instructions(context: Context) -> list[tuple[str, str, str]]:
    path = context.inputs["instructions"].path / rows.DATA
    return [
        (f"instructions row {number}", row.prompt, row.response)
        for number, row in enumerate(rows.read(path, Instruction), 1)
    ]


def _evaluations(context: Context) -> list[tuple[str, str, str]]:
    if "evaluations" not in context.inputs:
        return []
    path, rubric = (
        context.inputs["evaluations"].path / rows.DATA,
        rubrics.get(context.config.rubric),
    )
    return [
        (
            f"evaluations row {number}",
            judging.render(rubric, row.prompt, row.response),
            row.judgement,
        )
        for number, row in enumerate(rows.read(path, Evaluation), 1)
    ]
