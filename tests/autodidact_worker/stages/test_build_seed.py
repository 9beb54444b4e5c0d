import json
from typing import Any

import pytest

from autodidact_contract.records import (
    Instruction,
    RankedReplies,
    SeedPrompt,
)
from autodidact_worker.runtime import rows
from support.seed_trees import CONFIG, message


@pytest.fixture
def forest(bench: Any) -> Any:
    """Imported conversation trees: 40 prompts with two replies of different ranks."""
    given = [
        line
        for i in range(40)
        for line in (
            message(f"m{i}"),
            message(f"m{i}-x", f"m{i}", rank=1),
            message(f"m{i}-y", f"m{i}", rank=0),
        )
    ]
    text = "".join(f"{json.dumps(one)}\n" for one in given)
    return bench.put("import", {rows.DATA: text.encode()})


def test_the_stage_writes_one_part(bench: Any, forest: Any) -> None:
    """Each part is an artifact of its own, in the form that its reader wants; none overlap."""
    small = CONFIG.model_copy(update={"validation_prompts": 3})
    schemas = {
        "instructions": Instruction,
        "judged": RankedReplies,
        "held-out": RankedReplies,
        "validation": SeedPrompt,
    }
    prompts: list[str] = []
    for part, schema in schemas.items():
        done = bench.run(small.model_copy(update={"part": part}), trees=forest)
        found = rows.read(bench.fetch(done) / rows.DATA, schema)
        counts = bench.result(done).counts
        assert (counts["trees"], counts["prompts"], counts["rows"]) == (40, 40, len(found))
        prompts += [row.prompt for row in found]
    assert sorted(prompts) == sorted(f"text of m{i}" for i in range(40))


def test_trees_without_a_prompt_give_no_row_and_no_error(bench: Any, forest: Any) -> None:
    """What then happens to the run is its gate's to say."""
    foreign = CONFIG.model_copy(update={"language": "fr"})
    counts = bench.result(bench.run(foreign, trees=forest)).counts
    assert (counts["rows"], counts["other-language"]) == (0, 40)
