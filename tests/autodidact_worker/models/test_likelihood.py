from pathlib import Path
from typing import Any

import pytest

from support.rewarded import CONFIG, put, reply, scored


def test_a_model_is_no_better_than_itself(bench: Any, llama: Path) -> None:
    """Its rewards are all exactly 0: a tie, and no pair."""
    model = bench.put("import", llama)
    replies = [reply(1, i, text) for i, text in enumerate(("a", "bcdef", "gh"))]
    given = bench.run(CONFIG, model=model, reference=model, responses=put(bench, replies))
    assert [row.score for row in scored(bench, given)] == [0, 0, 0]
    assert bench.result(given).counts["ties"] == 1


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
