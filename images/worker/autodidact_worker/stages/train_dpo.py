"""Stage ``train-dpo``: the next model from the present one and its own preference pairs.

The reference is the model the stage starts from. Source: arXiv 2401.10020 section 2.4.
"""

from autodidact_contract.records import Pair
from autodidact_contract.stages import TrainDpo
from autodidact_worker import distributed, rows, training
from autodidact_worker.distributed import Layout
from autodidact_worker.errors import UserError
from autodidact_worker.frame import Context, Output
from autodidact_worker.trainers import dpo


def run(context: Context) -> Output:
    """Trains and writes the model and its curve (``training_log.jsonl``).

    Inputs: model (start and reference) and pairs.

    Raises:
        UserError: ``NoPairs``, or a row or the model cannot be used; see ``trainers``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config: TrainDpo = context.config
    parts = rows.read_parts(context.inputs["pairs"].path, "pairs", Pair)
    pairs = [pair for _, part in parts for pair in part]
    if not pairs:
        raise UserError(
            "NoPairs",
            "there is no preference pair to learn from: every prompt's replies had equal scores "
            "or none; look at the build-pairs counts, ask for more prompts or a warmer judge",
        )
    layout = Layout.of_environment()
    distributed.join(layout)
    begin = training.start(context.inputs["model"].path, config, layout)
    found = [
        training.tokenize(
            begin.tokenizer,
            f"pair of prompt {pair.prompt_id}",
            pair.prompt,
            [pair.chosen, pair.rejected],
            begin.limit,
        )
        for pair in pairs
    ]
    return dpo.train(context, begin, found, layout)
