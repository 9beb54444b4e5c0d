"""Stage ``generate-prompts`` on a random tiny model."""

from typing import Any

import pytest

from autodidact_contract.records import (
    Prompt,
)
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from support.sampling_stages import prompts_config


def test_new_prompts_are_counted_and_differ(bench: Any, stages: dict[str, Any]) -> None:
    """Accepted plus rejected is what was attempted, and no two prompts are equal."""
    config, inputs = stages["generate-prompts"]
    given = bench.run(config, **inputs)
    folder = bench.fetch(given)
    made = [row for _, part in rows.read_parts(folder, "prompts", Prompt) for row in part]
    counts = bench.result(given).counts
    assert len(made) == counts["accepted"] > 0
    assert len({row.prompt for row in made}) == len(made)
    assert all(row.rouge_max <= 0.7 and len(row.demonstrations) == 5 for row in made)
    rejected = sum(n for name, n in counts.items() if name.startswith("rejected-"))
    assert counts["accepted"] + rejected == counts["attempted"]


def test_prompts_differ_from_those_of_earlier_iterations(
    bench: Any, stages: dict[str, Any]
) -> None:
    """What an earlier iteration accepted is similar to itself and is not accepted again."""
    config, inputs = stages["generate-prompts"]
    first = bench.run(config, **inputs)
    second = bench.run(config, **inputs, **{"accepted-1": first})
    texts = [
        {
            row.prompt
            for _, part in rows.read_parts(bench.fetch(given), "prompts", Prompt)
            for row in part
        }
        for given in (first, second)
    ]
    assert not texts[0] & texts[1]


def test_no_prompt_at_all_is_the_users_to_fix(bench: Any, stages: dict[str, Any]) -> None:
    """When every attempt is rejected the message says why and what to do."""
    _, inputs = stages["generate-prompts"]
    config = prompts_config(count=4, attempts_per_prompt=2, max_rouge=-1.0)
    with pytest.raises(UserError, match=r"none of 8 attempts .* rejected .*stronger") as caught:
        bench.run(config, **inputs)
    assert caught.value.reason == "NoPrompts"
