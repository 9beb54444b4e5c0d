from typing import Any

from autodidact_contract.records import (
    Instruction,
    Question,
    RankedReplies,
    SeedPrompt,
)
from autodidact_contract.stages.data import ComparePrompts
from autodidact_worker.runtime import rows


def test_held_out_prompts_that_are_elsewhere_are_counted(bench: Any) -> None:
    """A prompt counts once, wherever it is found and whatever white space is around it."""
    ranked = [RankedReplies(prompt=p, replies=("x", "y"), ranks=(1, 2)) for p in ("a", "b", "c")]
    done = bench.run(
        ComparePrompts(),
        heldout=bench.put_rows(ranked),
        instructions=bench.put_rows([Instruction(prompt=p, response="x") for p in (" a\n", "d")]),
        questions=bench.put_rows(
            [Question(id=str(i), question=q, answer="1") for i, q in enumerate("abz")]
        ),
    )
    counts = bench.result(done).counts
    assert counts == {"prompts": 3, "overlap": 2, "overlap-instructions": 1, "overlap-questions": 2}
    found = rows.read(bench.fetch(done) / rows.DATA, SeedPrompt)
    assert [row.prompt for row in found] == ["a", "b"]
