"""Health gates: a run stops with its reason instead of training on noise."""

import pytest

from support import manifests
from support.deployed import Place
from support.scripted_stages import Figures

GATES = [
    pytest.param(
        {"minParseRate": {"limit": 0.5, "action": "Fail"}},
        {"judge": Figures(counts={"judgements": 32, "parsed": 8})},
        "JudgeUnreadable",
        ("judge-1", "0.25", "0.5"),
        id="parse rate",
    ),
    pytest.param(
        {"maxTieRate": {"limit": 0.5, "action": "Fail"}},
        {"judge": Figures(counts={"prompts": 16, "ties": 12})},
        "TooManyTies",
        ("judge-1", "0.75", "0.5"),
        id="ties",
    ),
    pytest.param(
        {"minScoreEntropy": {"limit": 0.5, "action": "Fail"}},
        {"judge": Figures(metrics={"scoreEntropy": 0.25})},
        "ScoresCollapsed",
        ("judge-1", "0.25", "0.5"),
        id="score entropy",
    ),
    pytest.param(
        {"minPairs": {"limit": 10, "action": "Fail"}},
        {"build-pairs": Figures(counts={"pairs": 9})},
        "TooFewPairs",
        ("build-pairs-1", "9", "10"),
        id="pairs",
    ),
    pytest.param(
        {"minMeanGap": {"limit": 0.5, "action": "Fail"}},
        {"build-pairs": Figures(metrics={"gap": 0.25})},
        "GapTooSmall",
        ("build-pairs-1", "0.25", "0.5"),
        id="gap",
    ),
    pytest.param(
        {"minJudgeAccuracy": {"limit": 0.6, "action": "Fail"}},
        {"evaluate": Figures(metrics={"pairwiseAccuracy": 0.4})},
        "JudgeDisagrees",
        ("evaluate-0", "0.4", "0.6"),
        id="judge accuracy",
    ),
    pytest.param(
        {},
        {
            "judge": Figures(counts={"prompts": 16, "ties": 16}),
            "build-pairs": Figures(counts={"pairs": 0}),
        },
        "TooFewPairs",
        ("build-pairs-1", "is 0"),
        id="nothing but ties",
    ),
]


@pytest.mark.parametrize(("gates", "figures", "reason", "words"), GATES)
def test_a_gate_before_the_first_round_fails_the_run(
    shared_place: Place,
    request: pytest.FixtureRequest,
    gates: dict[str, object],
    figures: dict[str, Figures],
    reason: str,
    words: tuple[str, ...],
) -> None:
    """The run fails with the gate's reason and figures, trains nothing on them, and reports."""
    # A seed of its own keeps a run from adopting what another's judge is said to have found.
    seed = 100 + [param.id for param in GATES].index(request.node.callspec.id)
    name = f"gate-{seed}"
    body = manifests.scripted(shared_place.namespace, name, gates=gates, seed=seed)
    shared_place.script(name).figures.update(figures)
    shared_place.apply(body)
    status = shared_place.until_ended(name)
    told = status["conditions"][0]
    assert (status["phase"], told["reason"]) == ("Failed", reason)
    assert all(word in told["message"] for word in words), told["message"]
    assert status["report"]
    assert not any("train-dpo" in job for job in shared_place.active_jobs(name))
    assert not any("train-dpo" in job for job in shared_place.created_jobs() if name in job)


def test_stop_after_the_first_round_is_a_success(place: Place) -> None:
    """With the action Stop a run that has learned ends as Succeeded, with model and report."""
    gates = {"minPairs": {"limit": 10, "action": "Stop"}}
    name = place.apply(manifests.scripted(place.namespace, iterations=3, gates=gates))
    place.script(name).figures["build-pairs-2"] = Figures(counts={"pairs": 3})
    status = place.until_ended(name)
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Succeeded", "TooFewPairs")
    assert status["report"]
    assert "train-dpo-" in status["model"]
    assert not any("-3-" in job for job in place.created_jobs())


def test_the_same_gate_fails_the_run_where_it_is_told_to(place: Place) -> None:
    """With the action Fail it fails, though it has learned before."""
    gates = {"minPairs": {"limit": 10, "action": "Fail"}}
    name = place.apply(manifests.scripted(place.namespace, iterations=2, gates=gates))
    place.script(name).figures["build-pairs-2"] = Figures(counts={"pairs": 3})
    status = place.until_ended(name)
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Failed", "TooFewPairs")


DRIFTS = [
    pytest.param("minGain", 0.02, {"gain": 0.3}, {"gain": 0.01}, "NoGain", id="gain"),
    pytest.param(
        "maxLengthRatio",
        1.5,
        {"lengthRatio": 1.25},
        {"lengthRatio": 1.75},
        "RepliesTooLong",
        id="length",
    ),
]


@pytest.mark.parametrize(("action", "phase"), [("Stop", "Succeeded"), ("Fail", "Failed")])
@pytest.mark.parametrize(("gate", "limit", "good", "bad", "reason"), DRIFTS)
def test_a_model_beyond_a_gate_is_not_the_result(
    place: Place,
    gate: str,
    limit: float,
    good: dict[str, float],
    bad: dict[str, float],
    reason: str,
    action: str,
    phase: str,
) -> None:
    """The model before it is, the figures are in the reason, and no further round begins."""
    gates = {gate: {"limit": limit, "action": action}}
    name = f"{gate.lower()}-{action.lower()}"
    figures = place.script(name).figures
    figures["evaluate-1"], figures["evaluate-2"] = Figures(metrics=good), Figures(metrics=bad)
    place.apply(manifests.scripted(place.namespace, name, iterations=3, gates=gates))
    status = place.until_ended(name)
    told = status["conditions"][0]
    assert (status["phase"], told["reason"]) == (phase, reason)
    (measured,) = bad.values()
    assert all(word in told["message"] for word in ("evaluate-2", str(measured), str(limit)))
    first, kept, rejected = (line["model"] for line in status["history"])
    assert kept != first
    assert f"/{kept}/" in status["model"]
    assert rejected != kept
    assert status["report"]
    assert not any("-3-" in job for job in place.created_jobs())
