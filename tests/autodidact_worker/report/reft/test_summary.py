import json
from pathlib import Path

import pytest

from autodidact_contract.api import kinds
from support.reft_report_inputs import BASELINES, whole
from support.report_page import make


def test_summary_has_arms_and_paired_tests(tmp_path: Path) -> None:
    """Programs find accuracies with intervals, counts and paired tests, and no text of a model."""
    run = whole(tmp_path / "inputs", 16, algorithm="grpo")
    make(tmp_path, run.inputs, kind=kinds.REFT)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [arm["name"] for arm in summary["arms"]] == ["warm-up", *BASELINES, "grpo"]
    arm = summary["arms"][-1]
    assert set(arm["accuracy"]) == {"greedy", "vote", "rerank"}
    assert arm["accuracy"]["greedy"]["n"] == 16
    assert list(arm["rightVotes"]) == ["1", "2", "4", "8"]
    assert arm["training"]["steps"] == 240
    pairs = {(pair["theirs"], pair["strategy"]): pair for pair in summary["paired"]}
    assert len(pairs) == 12
    pair = pairs["warm-up", "greedy"]
    ours, theirs = (summary["arms"][i]["accuracy"]["greedy"]["share"] for i in (-1, 0))
    assert pair["difference"] == pytest.approx(ours - theirs)
    assert pair["low"] < pair["difference"] < pair["high"]
    assert summary["lineage"][0]["stage"] == "prepare-train"
    assert "answer is" not in json.dumps(summary)
