"""Stage ``train-dpo``: the next model from the present one and its own preference pairs.

The reference is the model the stage starts from. Source: arXiv 2401.10020 section 2.4.
"""

import sys
from dataclasses import replace

from autodidact_contract.records import Pair
from autodidact_contract.stages.training import TrainDpo
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.start import Row, Start
from autodidact_worker.training.trainers import dpo
from autodidact_worker.training.trainers.battles import ByBattles
from autodidact_worker.training.trainers.measuring import Measuring


def run(context: Context[TrainDpo]) -> Output:
    """Trains and writes the model and its curve (``training_log.jsonl``).

    Inputs: model (start and reference), pairs; judge-pairs, which are mixed with them by the seed,
    where there are any. A pair of judgements that does not fit the limit is left out, as one that
    lost its end would teach to judge without a score. With ``selection`` validation, and referee
    where a model judges: the result is the best checkpoint, maybe the start itself.

    Counts beside those of all trainings: ``judge-pairs`` that were trained on and
    ``judge-pairs-too-long``; with ``selection`` ``keptStep`` (0: the start), ``checks`` and
    ``invalid-verdicts``.

    Raises:
        UserError: ``NoPairs``, or a row or the model cannot be used; see ``trainers``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    pairs = _read(context, "pairs")
    if not pairs:
        raise UserError(
            "NoPairs",
            "there is no preference pair to learn from: every prompt's replies had equal scores "
            "or none; look at the build-pairs counts, ask for more prompts or a warmer judge",
        )
    layout = Layout.of_environment()
    distributed.join(layout)
    begin = start.start(context.inputs["model"].path, config, layout)
    judgements = _read(context, "judge-pairs") if "judge-pairs" in context.inputs else []
    fitting = [pair for pair in judgements if _fits(begin, pair)]
    learned = pairs + fitting
    found = [_row(begin, pair, begin.limit) for pair in learned]
    consistency = [pair.consistency for pair in learned]
    output = dpo.train(context, begin, found, layout, consistency, _measuring(context))
    if "judge-pairs" not in context.inputs:
        return output
    counts = {
        "judge-pairs": len(fitting),
        "judge-pairs-too-long": len(judgements) - len(fitting),
    }
    return replace(output, counts={**output.counts, **counts})


def _measuring(context: Context[TrainDpo]) -> Measuring | None:
    config = context.config
    if config.selection is None:
        return None
    return Measuring(context, ByBattles(context, config.selection))


def _read(context: Context[TrainDpo], name: str) -> list[Pair]:
    parts = rows.read_parts(context.inputs[name].path, "pairs", Pair)
    return [pair for _, part in parts for pair in part]


def _row(begin: Start, pair: Pair, limit: int) -> Row:
    name = f"pair of prompt {pair.prompt_id}"
    return start.tokenize(begin.tokenizer, name, pair.prompt, [pair.chosen, pair.rejected], limit)


def _fits(begin: Start, pair: Pair) -> bool:
    """Returns whether all of a pair fits the limit."""
    return _row(begin, pair, sys.maxsize).length <= begin.limit
