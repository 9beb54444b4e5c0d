import json
from pathlib import Path

from autodidact_contract.api import kinds
from autodidact_worker.report.reft.figures import collect
from autodidact_worker.report.reft.headline import warnings
from autodidact_worker.report.shares import Paired
from support.reft_arms import arm_of
from support.reft_report_inputs import ReftRun
from support.report_page import cells, make


def test_accuracies_of_four_questions(tmp_path: Path) -> None:
    """Shares, intervals, differences and the vote curve are what one counts by hand."""
    run = ReftRun(tmp_path, spec={"baselines": [], "voting": {"samples": 3}})
    arm_of(run, "warm-up", "+---", ("+--", "?++", "---", "-?-"))
    arm_of(run, "ppo", "+++?", ("+++", "+++", "++-", "--+"))
    figures = collect(run.inputs, looked=0)
    warm_up, reft = figures.arms
    assert (warm_up.accuracy["greedy"].share, reft.accuracy["greedy"].share) == (0.25, 0.75)
    # The first vote, the first two and all three; a tie goes to the first, "?" does not vote.
    assert dict(warm_up.votes) == {1: 1, 2: 2, 3: 1}
    assert dict(reft.votes) == {1: 3, 2: 3, 3: 3}
    assert reft.reasons == {"ok": 15, "no-trigger": 1}
    pair = reft.against(warm_up, "greedy")
    assert pair == Paired(both=1, only_ours=2, only_theirs=0, neither=1)
    reft_html = make(tmp_path / "page", run.inputs, kind=kinds.REFT)
    # Wilson of 3 of 4: 0.3006 to 0.9544.
    assert cells(reft_html, r"ReFT \(PPO\)")[0] == "75.0 %30.1 % to 95.4 %"
    assert cells(reft_html, r"ReFT \(PPO\)")[3].startswith("+50.0")
    # 7; 7; 7 and 8; 8 and 7.
    assert cells(reft_html, r"ReFT \(PPO\)")[5] == "1.5of 3"


def test_overlap_is_said(tmp_path: Path) -> None:
    """Test questions that were trained on are counted on the page and for programs."""
    run = ReftRun(tmp_path / "inputs", spec={"baselines": [], "reranker": {"enabled": False}})
    run.add("prepare-test", {"rows": 4, "overlap": 3})
    arm_of(run, "warm-up", "++--")
    [told] = warnings(collect(run.inputs, looked=0))
    assert told.startswith("3 of 4 test questions are in the training split as well: ")
    reft_html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert '<p class="warning">3 of 4 test questions' in reft_html
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["overlap"] == 3


def test_curves_go_on_where_the_warm_up_ended(tmp_path: Path) -> None:
    """Validation accuracies lie over rows or answers seen, whether logs count steps or rollouts."""
    run = ReftRun(tmp_path, spec={"warmUp": {"batchSize": 10}})
    run.add("prepare-train")
    run.train("train-sft", [{"step": 0, "accuracy": 0.0}, {"step": 6, "accuracy": 0.4}])
    rollouts = [{"step": 0, "accuracy": 0.4}, {"step": 2, "accuracy": 0.9}]
    run.train("train-reft", rollouts, answers=32, steps=8)
    run.train("train-sft-offline", [{"step": 1, "accuracy": 0.1}])
    arms = {arm.name: arm for arm in collect(run.inputs, looked=0).arms}
    assert arms["warm-up"].measured == [(0, 0.0), (60, 0.4)]
    assert arms["ppo"].measured == [(60, 0.4), (92, 0.9)]
    assert arms["offline-self-training"].measured == [(10, 0.1)]
    assert (arms["warm-up"].seen, arms["ppo"].seen) == (60, 32)
