"""Stage ``train-online-st``: online self-training, a baseline that learns from right samples only.

Source: arXiv 2401.08967 section 4.2; ``training.online.learn_self_training`` says what is learned.
"""

from autodidact_contract.stages.training import TrainOnlineSt
from autodidact_worker.answers.grading import Grade
from autodidact_worker.generation import Completion
from autodidact_worker.models import lora
from autodidact_worker.models.policy import Policy
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, engines, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online import loop
from autodidact_worker.training.online.learn_self_training import SelfTraining
from autodidact_worker.training.online.loop import Loop


def run(context: Context[TrainOnlineSt]) -> Output:
    """Trains and writes the model and its curve (``training_log.jsonl``).

    Inputs: model, questions with targets, validation.

    Raises:
        UserError: A question or the model cannot be used, or nothing can be learned; see
            ``training.online.loop``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    layout = Layout.of_environment()
    distributed.join(layout)
    questions = loop.problems(context, "questions")
    plan = loop.plan(config, len(questions), None, layout)
    begin = start.start(context.inputs["model"].path, config, layout)
    network = Policy(lora.wrap(begin.model, config.lora))
    engine = engines.start(network, [network.parameters()], plan.accumulation, config, layout)

    def score(grade: Grade, _: Completion) -> float:
        return float(grade.correct)

    golden = {
        problem.id: start.tokenize(
            begin.tokenizer, f"question {problem.id}", problem.prompt, [problem.target], begin.limit
        )
        for problem in questions
    }
    training = Loop(context, begin, plan, engine, score)
    learner = SelfTraining(engine, golden, begin.tokenizer.pad_token_id, config, plan)
    return training.run(learner.learn)
