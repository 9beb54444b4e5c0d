"""Stage ``build-seed``: one part of the seed data in ranked conversation trees. No torch."""

import logging

from autodidact_contract.stages.data import BuildSeed
from autodidact_worker.curation import trees
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output

log = logging.getLogger(__name__)


def run(context: Context[BuildSeed]) -> Output:
    """Writes ``rows.jsonl``: instructions, rankings or prompts, as the part wants them.

    Counts: ``rows``, and what the trees had, see ``trees.first_turns``. No row at all is no error
    here: the run's gate decides.

    Raises:
        UserError: ``InvalidData`` or ``DuplicateIds``: the trees are none.
    """
    config = context.config
    read = rows.read_conversations(context.inputs["trees"].path / rows.DATA)
    turns, counts = trees.first_turns(read, config.language)
    part = trees.split(turns, config)[config.part]
    rows.write(context.out / rows.DATA, (trees.row(turn, config.part) for turn in part))
    log.info("%s: %d of %d prompts", config.part, len(part), len(turns))
    context.progress(len(turns), len(turns))
    return Output(counts={**counts, "prompts": len(turns), "rows": len(part)})
