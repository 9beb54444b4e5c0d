from typing import Any

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.types import Observed
from support import builders
from support.builders import NOW
from support.decisions import attempts, gated, see


def test_stop_before_the_first_dpo_fails() -> None:
    """A gate that stops the run before it learned anything fails it; the report is made."""
    world = gated({"build-pairs-1": {"pairs": 0}})
    assert world.status.phase == "Failed"
    condition = builders.ready(world.status)
    assert condition.reason == "TooFewPairs"
    assert condition.message.startswith("build-pairs-1: preference pairs is 0, the gate wants")
    assert world.status.report
    assert ("train-dpo-1", 1) not in world.created


def test_stop_later_succeeds_with_the_last_good_model() -> None:
    """After a DPO round a gate ends the run as Succeeded; its model is the last that was made."""
    world = gated({"build-pairs-2": {"pairs": 0}})
    assert world.status.phase == "Succeeded"
    assert builders.ready(world.status).reason == "TooFewPairs"
    assert world.status.model == world.known["train-dpo-1"].folder
    assert world.status.report
    assert {line.iteration for line in world.status.history} == {0, 1, 2}


def test_fail_fails_however_late() -> None:
    """A gate with action Fail fails the run after any number of rounds."""
    world = gated({"judge-2": {"parsed": 3}})
    assert (world.status.phase, builders.ready(world.status).reason) == (
        "Failed",
        "JudgeUnreadable",
    )


def test_fail_goes_before_stop() -> None:
    """Where several gates trip, one that fails the run decides."""
    gates = {"minMeanGap": {"limit": 2, "action": "Fail"}, "minPairs": {"limit": 50}}
    world = gated(
        {"build-pairs-2": {"gap": 1.0, "pairs": 45}, "build-pairs-1": {"gap": 3.0, "pairs": 60}},
        gates=gates,
    )
    assert (world.status.phase, builders.ready(world.status).reason) == ("Failed", "GapTooSmall")


def test_ties_stop_a_run_whose_reward_is_implicit() -> None:
    """Ties are counted of any scores; a parse rate, which has a default, only of judgements."""
    changes: dict[str, Any] = {"reward": "implicit", "gates": {"maxTieRate": {"limit": 0.5}}}
    figures = {"judge-2": {"prompts": 25, "ties": 13}}
    world = gated(figures, **changes)
    assert builders.ready(world.status).reason == "TooManyTies"
    assert gated({"judge-2": {"prompts": 25, "ties": 12}}, **changes).status.phase == "Succeeded"
    reasons = [check.reason for check in world.graph["judge-1"].checks]
    assert reasons == ["TooManyTies"]


def test_a_gate_on_the_judge_stops_its_siblings() -> None:
    """With pods of their own they wait for the judge, and none works on once it has tripped."""
    world = gated(
        {"judge-2": {"parsed": 3}},
        shards=2,
        pairs={"anchoredLoser": True},
        dpo={"consistency": True},
    )
    assert builders.ready(world.status).reason == "JudgeUnreadable"
    assert ("judge-2", 1) in world.created
    for name in ("generate-anchors-2", "judge-anchors-2", "judge-by-previous-2"):
        assert (name, 1) not in world.created


def test_the_first_evaluation_has_nothing_to_gain() -> None:
    """M1 meets nobody before it, so that its missing gain ends no run."""
    world = gated({"evaluate-0": {"gain": 0.0}}, gates={"minGain": {"limit": 0.1}})
    assert world.status.phase == "Succeeded"


def test_no_pairs_end_a_run_without_gates() -> None:
    """Without any pair there is nothing to learn from, even where the gate is off."""
    world = gated({"build-pairs-2": {"pairs": 0}}, gates={"minPairs": None, "minParseRate": None})
    assert builders.ready(world.status).reason == "TooFewPairs"


def test_weak_warm_up_fails_before_reinforcement() -> None:
    """Where the warm-up gets nothing right, the run fails and samples nothing."""
    of = builders.reft()
    graph = builders.graph(of)
    found = builders.published(graph, "train-sft", train_sft={"accuracy": 0.0})
    decision = decide(graph, builders.run(of), Observed(artifacts=found), RunStatus(), NOW)
    # The report still tells of what there is.
    assert [request.job for request in decision.create] == ["report"]
    done = {**found, "report": builders.artifact(graph["report"], found)}
    status = decide(graph, builders.run(of), Observed(artifacts=done), RunStatus(), NOW).status
    assert (status.phase, status.conditions[0].reason) == ("Failed", "WarmUpTooWeak")


def test_gated_judge_is_measured_before_it_judges() -> None:
    """With minJudgeAccuracy an iteration waits for the evaluation of its judge."""
    gates = {"minJudgeAccuracy": {"limit": 0.6}}
    assert attempts(see(until="train-sft", gates=gates)) == [("evaluate-0", 1)]
