"""Stage ``train-ppo``: ReFT's policy, by PPO from the warm-up model on the questions it knows.

Source: arXiv 2401.08967 section 3.2 and algorithm 1; where its published code differs, the code
decides, and ``training.online.ppo`` says where.
"""

import copy

from autodidact_contract.stages.training import TrainPpo
from autodidact_worker.answers import grading
from autodidact_worker.answers.grading import Grade
from autodidact_worker.generation import Completion
from autodidact_worker.models import lora
from autodidact_worker.models.policy import ActorCritic, Policy
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, engines, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online import loop
from autodidact_worker.training.online.learn_ppo import Ppo
from autodidact_worker.training.online.loop import Loop


def run(context: Context[TrainPpo]) -> Output:
    """Trains and writes the policy and its curve (``training_log.jsonl``).

    Inputs: model (start and frozen reference), questions, validation.

    Raises:
        UserError: A question or the model cannot be used, or nothing can be learned; see
            ``training.online.loop``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    layout = Layout.of_environment()
    distributed.join(layout)
    questions = len(loop.problems(context, "questions"))
    plan = loop.plan(config, questions, config.mini_batch_size, layout)
    begin = start.start(context.inputs["model"].path, config, layout)
    reference = None if config.lora else Policy(copy.deepcopy(begin.model), _temperature(config))
    network = ActorCritic(
        lora.wrap(begin.model, config.lora),
        _temperature(config),
        head=config.value_head,
        network=config.value_network,
        seed=config.seed,
    )
    head = list(network.head.parameters())
    others = [p for name, p in network.named_parameters() if not name.startswith("head.")]
    engine = engines.start(network, [others, head], plan.accumulation, config, layout)
    frozen = engines.frozen(reference, config, layout) if reference else network.without_adapters

    def score(grade: Grade, completion: Completion) -> float:
        return grading.reward(grade, completion.finish, config.reward, config.answers.kind)

    training = Loop(context, begin, plan, engine, score)
    learner = Ppo(engine, frozen, begin.tokenizer.pad_token_id, config, plan)
    return training.run(learner.learn, config.max_kl)


def _temperature(config: TrainPpo) -> float:
    return config.sampling.temperature
