"""A tiny run from ranked conversation trees to M2, by the command of local mode."""

import json
from pathlib import Path

import pytest
import yaml

from support.manifests import merged
from tools import local_run
from tools.paths import EXAMPLES

pytestmark = pytest.mark.thorough

TINY = {
    "seedData": {
        "instructions": 900,
        "instructionShare": 0.9,
        "heldOutShare": 0.5,
        "validationPrompts": 16,
        "attempts": 2,
    },
    "warmUp": {"epochs": 8, "learningRate": 0.006, "batchSize": 32},
    "prompts": {"perIteration": 16, "attemptsPerPrompt": 20, "maxRouge": 1},
    "responses": {"perPrompt": 3},
    "judge": {"votes": 1},
    "pairs": {"excludeTruncated": False},
    "dpo": {"epochs": 1, "batchSize": 16, "checkpoints": {"everySteps": 1, "judge": "oracle"}},
    "evaluation": {"prompts": 16},
    "gates": {"minPairs": {"limit": 1, "action": "Stop"}, "minParseRate": {"limit": 0}},
}
"""Enough for a judge that is read, and some of whose judgements agree by luck alone."""


@pytest.mark.timeout(600)
def test_ranked_trees_become_seed_data_and_a_model(tmp_path: Path) -> None:
    """Status and report say how many judgements agreed, of which scores, and what came of them."""
    body = yaml.safe_load((EXAMPLES / "selfreward-toy-ranked.yaml").read_text())
    status = local_run.run(merged(body, {"spec": TINY}), tmp_path).status
    assert status.phase == "Succeeded", status.conditions
    first, second = status.history
    assert first.acceptance is not None
    assert 0 < first.acceptance < 1
    assert first.scores_before is not None
    assert first.scores_after is not None
    assert len(first.scores_before) == len(first.scores_after) == 6
    assert sum(first.scores_before) >= sum(first.scores_after) > 0
    assert second.pairs
    assert second.model.startswith("train-dpo-")

    page = next(tmp_path.glob("store/**/report.html"))
    told = json.loads((page.parent / "summary.json").read_text())["measures"]["seed"]
    judged = told["judgements"]
    assert judged["accepted"] / judged["prompts"] == pytest.approx(first.acceptance, abs=1e-4)
    assert sum(judged["after"].values()) == sum(first.scores_after)
    assert told["trees"]["parts"]["validation"] == 16
    assert told["overlap"]["overlap"] == 0
    assert "people's ranked replies that became seed data" in page.read_text()
