"""Stage ``compare-prompts``: how many held-out prompts are among the others. No torch."""

import logging

from autodidact_contract.base import Schema
from autodidact_contract.records import (
    Evaluation,
    Instruction,
    Question,
    RankedReplies,
    SeedPrompt,
)
from autodidact_contract.stages.data import ComparePrompts
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output

log = logging.getLogger(__name__)

SCHEMAS: dict[str, type[Schema]] = {
    "instructions": Instruction,
    "evaluations": Evaluation,
    "questions": Question,
    "validation": SeedPrompt,
}
"""What the rows are, by the name of the input; questions are compared by their text."""


def run(context: Context[ComparePrompts]) -> Output:
    """Writes ``rows.jsonl``: the held-out prompts that are in other data as well.

    Counts: ``prompts``, ``overlap``, and ``overlap-<input>`` for each data set. Prompts are
    compared after white space at their ends is gone.
    """
    held_out = _texts(context, "heldout", RankedReplies)
    counts = {"prompts": len(held_out)}
    shared: set[str] = set()
    for name, schema in SCHEMAS.items():
        if name in context.inputs:
            found = held_out & _texts(context, name, schema)
            counts[f"overlap-{name}"] = len(found)
            shared |= found
    if shared:
        log.warning(
            "held out and elsewhere as well: %d, for example %.200r", len(shared), min(shared)
        )
    rows.write(context.out / rows.DATA, [SeedPrompt(prompt=text) for text in sorted(shared)])
    context.progress(len(held_out), len(held_out))
    return Output(counts={**counts, "overlap": len(shared)})


def _texts(context: Context[ComparePrompts], name: str, schema: type[Schema]) -> set[str]:
    found = rows.read(context.inputs[name].path / rows.DATA, schema)
    return {str(getattr(row, "prompt", getattr(row, "question", ""))).strip() for row in found}
