"""DPO's implicit reward of replies, in place of a judge."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from autodidact_contract.records import Judged, Response
from autodidact_contract.stages.data import BuildPairs
from autodidact_contract.stages.judging import ImplicitReward
from autodidact_worker.models import loading
from autodidact_worker.models.batches import by_length
from autodidact_worker.runtime import rows

PROMPTS = 70  # two part files
CONFIG = ImplicitReward(beta=0.1)


def reply(number: int, index: int, text: str, finish: str = "stop") -> Response:
    """A reply to one of the prompts."""
    return Response(
        id=f"p{number}-{index}",
        prompt_id=f"p{number}",
        prompt=f"say {number}:",
        index=index,
        text=text,
        tokens=len(text),
        finish=finish,
    )


def put(bench: Any, replies: Sequence[Response], part: int = 128) -> Any:
    """Publishes replies in parts of so many."""
    files = {}
    for number in range(-(-len(replies) // part)):
        chunk = replies[number * part : (number + 1) * part]
        lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in chunk)
        files[f"responses-{number:05d}.jsonl"] = lines
    return bench.put("generate-responses", files)


def scored(bench: Any, given: Any) -> list[Judged]:
    """The rows of an artifact."""
    parts = rows.read_parts(bench.fetch(given), "judged", Judged)
    return [row for _, part in parts for row in part]


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


def test_a_model_is_no_better_than_itself(bench: Any, llama: Path) -> None:
    """Its rewards are all exactly 0: a tie, and no pair."""
    model = bench.put("import", llama)
    replies = [reply(1, i, text) for i, text in enumerate(("a", "bcdef", "gh"))]
    given = bench.run(CONFIG, model=model, reference=model, responses=put(bench, replies))
    assert [row.score for row in scored(bench, given)] == [0, 0, 0]
    assert bench.result(given).counts["ties"] == 1


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


def test_batches_do_not_change_the_rewards(
    bench: Any, llama: Path, other_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are padded on both sides; alone they have the same rewards."""
    replies = [reply(10**i, 0, "abcdefgh"[: i + 1]) for i in range(5)]
    inputs = {
        "model": bench.put("import", llama),
        "reference": bench.put("import", other_llama),
        "responses": put(bench, replies),
    }
    together = scored(bench, bench.run(CONFIG, **inputs))
    monkeypatch.setattr("autodidact_worker.models.likelihood.BATCH_TOKENS", 1)
    alone = scored(bench, bench.run(CONFIG.model_copy(update={"seed": 1}), **inputs))
    assert [row.score for row in together] == pytest.approx([row.score for row in alone], abs=1e-5)


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


def test_rows_of_similar_length_come_together() -> None:
    """Longest first, as many as fit, and one at least."""
    found = list(by_length([3, 9, 2, 4, 30], 10))
    assert found == [[4], [1], [3, 0], [2]]
