"""DPO's implicit reward of replies, in place of a judge."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autodidact_contract.stages.data import BuildPairs
from autodidact_worker.models import loading
from support.rewarded import CONFIG, put, reply, scored

PROMPTS = 70  # two part files


def log_prob(model: Path, prompt: str, text: str, *, end: bool) -> float:
    """Sum over the reply's tokens of one forward pass of one row, by hand."""
    loaded, tokenizer = loading._load(model)
    asked = loading.prompt_ids(tokenizer, prompt)
    ids = [*asked, *tokenizer(text).input_ids, *([tokenizer.eos_token_id] if end else [])]
    with torch.no_grad():
        logs = loaded(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(len(asked), len(ids)))


def test_the_reward_is_beta_times_the_log_ratio(bench: Any, llama: Path, other_llama: Path) -> None:
    """Over the reply's tokens: with the end token if it ended by itself, without if it was cut."""
    replies = [reply(1, 0, "abc"), reply(1, 1, "a much longer one"), reply(2, 0, "ab", "length")]
    given = bench.run(
        CONFIG,
        model=bench.put("import", llama),
        reference=bench.put("import", other_llama),
        responses=put(bench, replies),
    )
    found = scored(bench, given)
    for row in found:
        end = row.finish == "stop"
        ours, theirs = (log_prob(m, row.prompt, row.text, end=end) for m in (llama, other_llama))
        assert row.score == pytest.approx(0.1 * (ours - theirs), abs=1e-5)
        assert row.votes == ()
    assert [(row.id, row.text) for row in found] == [(row.id, row.text) for row in replies]
    result = bench.result(given)
    assert result.metrics["score"] == pytest.approx(sum(row.score or 0 for row in found) / 3)
    assert result.metrics["spread"] == pytest.approx(
        abs((found[0].score or 0) - (found[1].score or 0))
    )
    assert not any(name.startswith("score-") for name in result.counts)


def test_shards_do_not_change_the_rewards(
    new_bench: Callable[[str], Any], llama: Path, other_llama: Path
) -> None:
    """One, two and four shards publish the same files, counts and means."""
    replies = [reply(i, j, "abcdefgh"[: i % 7 + j + 1]) for i in range(PROMPTS) for j in range(2)]
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        given = bench.run(
            CONFIG,
            shards=shards,
            model=bench.put("import", llama),
            reference=bench.put("import", other_llama),
            responses=put(bench, replies),
        )
        result = bench.result(given)
        found.append((result.digest, result.counts, result.metrics))
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1] == found[1][1] == found[2][1]
    assert found[0][2] == pytest.approx(found[1][2])
    assert found[0][1]["responses"] == 2 * PROMPTS


def test_what_is_too_long_has_no_reward(bench: Any, llama: Path, other_llama: Path) -> None:
    """It is counted, and pairs are made of the rest, below 0 as well."""
    replies = [reply(1, 0, "a" * 3000), reply(1, 1, "abc"), reply(1, 2, "x y z")]
    given = bench.run(
        CONFIG,
        model=bench.put("import", llama),
        reference=bench.put("import", other_llama),
        responses=put(bench, replies),
    )
    assert [row.score is None for row in scored(bench, given)] == [True, False, False]
    counts = bench.result(given).counts
    assert (counts["unscored"], counts["skipped-too-long"]) == (1, 1)
    config = BuildPairs(tie_break="lowest-variance", min_score_gap=0, exclude_truncated=True)
    assert bench.result(bench.run(config, judged=given)).counts["pairs"] == 1
