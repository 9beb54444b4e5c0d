from typing import Any

import pytest

from support import builders
from support.decisions import gated

GATES = {
    "minParseRate": ({"limit": 0.9, "action": "Fail"}, "judge-1", {"parsed": 270}, {"parsed": 269}),
    "maxTieRate": ({"limit": 0.2}, "judge-1", {"ties": 5}, {"ties": 6}),
    "minPairs": ({"limit": 30}, "build-pairs-1", {"pairs": 30}, {"pairs": 29}),
    "minMeanGap": ({"limit": 0.5}, "build-pairs-1", {"gap": 0.5}, {"gap": 0.49}),
    "minJudgeAccuracy": (
        {"limit": 0.6},
        "evaluate-0",
        {"pairwiseAccuracy": 0.6},
        {"pairwiseAccuracy": 0.59},
    ),
}


@pytest.mark.parametrize("gate", GATES)
def test_gate_lets_its_limit_pass(gate: str) -> None:
    """A figure may be equal to its limit, and trips the gate beyond it."""
    limits, stage, good, bad = GATES[gate]
    assert gated({stage: good}, gates={gate: limits}).status.phase == "Succeeded"
    assert gated({stage: bad}, gates={gate: limits}).status.phase == "Failed"


@pytest.mark.parametrize(
    ("gate", "limits", "good", "bad", "reason"),
    [
        ("minGain", {"limit": 0.1}, {"gain": 0.1}, {"gain": 0.09}, "NoGain"),
        (
            "maxLengthRatio",
            {"limit": 2},
            {"lengthRatio": 2.0},
            {"lengthRatio": 2.1},
            "RepliesTooLong",
        ),
    ],
)
def test_a_model_that_its_gate_rejects_is_not_the_result(
    gate: str,
    limits: dict[str, Any],
    good: dict[str, float],
    bad: dict[str, float],
    reason: str,
) -> None:
    """The one before is; Stop ends the run as Succeeded with it, Fail fails it.

    Where the first round's model is rejected nothing was learned, so that both fail the run.
    """
    done = gated({"evaluate-2": good}, gates={gate: limits})
    assert done.status.model == done.known["train-dpo-2"].folder
    for t, action, phase in (
        *((1, "Stop", "Failed"), (1, "Fail", "Failed")),
        *((2, "Stop", "Succeeded"), (2, "Fail", "Failed")),
    ):
        stopped = gated({f"evaluate-{t}": bad}, gates={gate: {**limits, "action": action}})
        assert (stopped.status.phase, builders.ready(stopped.status).reason) == (phase, reason)
        kept = "train-sft" if t == 1 else "train-dpo-1"
        assert stopped.status.model == stopped.known[kept].folder
        assert (("sample-2", 1) in stopped.created) == (t == 2)
        assert stopped.status.report


def test_a_mean_of_nothing_is_within_no_limit() -> None:
    """Where M1 says nothing there is no ratio of lengths: a maximum trips, and says why."""
    nothing: dict[str, Any] = {"evaluate-2": {"lengthRatio": None}}
    world = gated(nothing, gates={"maxLengthRatio": {"limit": 100}})
    assert builders.ready(world.status).reason == "RepliesTooLong"
    assert (
        "M1's cannot be computed, the gate wants at most 100" in world.status.conditions[0].message
    )
    silent: dict[str, Any] = {"judge-2": {"scoreEntropy": None}}
    off = gated(silent, gates={"minScoreEntropy": {"limit": 0}})
    assert builders.ready(off.status).reason == "Completed"
    on = gated(silent, gates={"minScoreEntropy": {"limit": 0.1}})
    assert "is 0" not in on.status.conditions[0].message


def test_gate_that_is_off_lets_everything_pass() -> None:
    """A judge that nobody can read is no obstacle where minParseRate is null."""
    world = gated({"judge-1": {"parsed": 0}}, gates={"minParseRate": None})
    assert world.status.phase == "Succeeded"
