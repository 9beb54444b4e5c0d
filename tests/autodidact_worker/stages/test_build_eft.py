from typing import Any

import pytest

from autodidact_contract.records import (
    Evaluation,
)
from autodidact_contract.stages.data import BuildEft
from autodidact_worker.runtime import rows
from support.seed_trees import judged


def test_evaluations_are_what_agrees_rebalanced(bench: Any) -> None:
    """Counts say how many prompts agreed, why the others did not, and the scores."""
    made = [
        judged((5, 1)),
        judged((5, 2)),
        judged((5, 5), (5, 3)),
        judged((1, 5), (2, 5)),
        judged((None, 3)),
    ]
    lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in made)
    given = bench.put("judge-ranked", {"judged-00000.jsonl": lines})
    config = BuildEft(agreement="strict", max_score_share=0.4)
    done = bench.run(config, judged=given)
    found = rows.read(bench.fetch(done) / rows.DATA, Evaluation)
    assert sorted(row.score for row in found) == [1, 2, 3, 5, 5]
    artifact = bench.result(done)
    assert artifact.metrics["acceptance"] == pytest.approx(3 / 5)
    assert {k: v for k, v in artifact.counts.items() if v} == {
        "prompts": 5,
        "accepted": 3,
        "rejected-inversion": 1,
        "rejected-unreadable": 1,
        "before-1": 1,
        "before-2": 1,
        "before-3": 1,
        "before-5": 3,
        "after-1": 1,
        "after-2": 1,
        "after-3": 1,
        "after-5": 2,
        "rows": 5,
    }
