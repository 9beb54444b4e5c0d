"""Stage ``train-grpo``: a policy by GRPO, from the warm-up model on the questions it knows.

Source: arXiv 2402.03300 section 4.1; ``trainers.grpo`` says how TRL is made to follow it.
"""

from autodidact_contract.records import Problem
from autodidact_contract.stages.training import TrainGrpo
from autodidact_worker.answers.grading import Grader
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.trainers import grpo
from autodidact_worker.training.trainers.accuracy import ByAccuracy
from autodidact_worker.training.trainers.measuring import Measuring


def run(context: Context[TrainGrpo]) -> Output:
    """Trains and writes the policy and its curve (``training_log.jsonl``).

    Inputs: model (start and frozen reference), questions, validation.

    Raises:
        UserError: A question or the model cannot be used, or nothing can be learned; see ``grpo``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    layout = Layout.of_environment()
    distributed.join(layout)
    begin = start.start(context.inputs["model"].path, config, layout)
    problems = rows.read(context.inputs["questions"].path / rows.DATA, Problem)
    with Grader(config.answers) as grader, grader.beside(config.validation.answers) as examiner:
        epoch_rounds = len(problems) / config.batch_size
        measuring = Measuring(
            context, ByAccuracy(context, config.validation, examiner, epoch_rounds)
        )
        return grpo.train(context, begin, problems, layout, grader, measuring)
