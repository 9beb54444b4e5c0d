"""Every sampling stage through the frame, on a random tiny model."""

from pathlib import Path
from typing import Any

from autodidact_contract.records import (
    Prompt,
    Response,
)
from autodidact_worker.runtime import rows
from support.sampling_stages import PROMPTS, REPLIES, parts, text


def test_another_seed_gives_other_replies(bench: Any, stages: dict[str, Any]) -> None:
    """The seed is part of the noise and of the key."""
    config, inputs = stages["generate-responses"]
    other = config.model_copy(update={"seed": 1})
    assert bench.run(config, **inputs).digest != bench.run(other, **inputs).digest


def test_replies_carry_what_was_asked(bench: Any, stages: dict[str, Any]) -> None:
    """Every prompt has its replies in order, with ids, lengths and finish reasons."""
    config, inputs = stages["generate-responses"]
    given = bench.run(config, **inputs)
    folder = bench.fetch(given)
    first = rows.read(folder / "responses-00000.jsonl", Response)
    assert [row.id for row in first[:2]] == [f"{rows.text_id(text(0))}-{i}" for i in range(2)]
    assert len(first) == 128
    assert all(row.tokens <= 6 for row in first)
    assert any(row.finish == "length" and row.tokens == 6 for row in first)
    artifact = bench.result(given)
    assert artifact.counts["prompts"] == PROMPTS
    assert artifact.counts["responses"] == 2 * PROMPTS
    assert artifact.metrics["tokens"] == artifact.counts["tokens"] / (2 * PROMPTS)


def test_a_generated_prompt_that_is_too_long_is_skipped_and_counted(
    bench: Any, llama: Path
) -> None:
    """A prompt beyond the context costs its own replies only."""
    long = "a" * 3000
    made = [
        Prompt(id=rows.text_id(p), prompt=p, demonstrations=(), rouge_max=0) for p in ("ab", long)
    ]
    given = bench.put("generate-prompts", parts("prompts", made))
    done = bench.run(REPLIES, model=bench.put("import", llama), prompts=given)
    counts = bench.result(done).counts
    assert (counts["prompts"], counts["responses"], counts["skipped-too-long"]) == (1, 2, 1)
