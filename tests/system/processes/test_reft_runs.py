"""ReFTRuns on the cluster: what is refused, what is warned of, how they end; pods are played."""

import re
from typing import Any

import pytest

from support import manifests
from support.deployed import Place, conditions
from support.scripted_stages import Figures


@pytest.fixture
def reft(shared_place: Place) -> Place:
    """The shared namespace, for ReFTRuns."""
    return shared_place.of("reft")


def test_a_run_goes_through_every_stage(place: Place) -> None:
    """With all baselines the run succeeds, and its history has a line for every model."""
    reft = place.of("reft")
    baselines = ["sft", "offline-self-training", "online-self-training"]
    name = reft.apply(manifests.scripted_reft(place.namespace, baselines=baselines))
    status = reft.until_ended(name)
    assert status["phase"] == "Succeeded", status["conditions"]
    assert [line["name"] for line in status["history"]] == ["warm-up", *baselines, "ppo"]
    best = status["history"][-1]
    figures = [best[n] for n in ("accuracy", "voteAccuracy", "rerankAccuracy")]
    assert figures == [0.7, 0.8, 0.85]
    assert (status["score"], status["iteration"]) == ("0.700", "1/1")
    assert "train-ppo-" in status["model"]
    assert "report-" in status["report"]
    text = reft.kubectl("get", "reft", name)
    assert text.splitlines()[0].split() == [
        *("NAME", "PHASE", "ITERATION", "STAGE", "PROGRESS", "SCORE", "AGE"),
    ]
    assert f"reftrun.autodidact.dev/{name}" in reft.kubectl("get", "autodidact", "-o", "name")


def test_one_run_more_adopts_what_is_there(place: Place) -> None:
    """A second run with another beta starts Jobs only for what depends on it."""
    reft = place.of("reft")
    reft.until_ended(reft.apply(manifests.scripted_reft(place.namespace, "first")))
    before = set(reft.created_jobs())
    name = reft.apply(manifests.scripted_reft(place.namespace, "second", ppo={"beta": 0.5}))
    assert reft.until_ended(name)["phase"] == "Succeeded"
    fresh = " ".join(set(reft.created_jobs()) - before)
    assert "train-reft" in fresh
    assert "import" not in fresh
    assert "train-sft" not in fresh
    assert "warm-up" not in fresh


def test_suspended_and_resumed(place: Place) -> None:
    """A suspended run shows it, has no Job at work, and goes on afterwards."""
    reft = place.of("reft")
    body = manifests.scripted_reft(place.namespace)
    place.script("run").delays["train-reft"] = 30
    name = reft.apply(body)
    reft.until(name, lambda s: s["stage"] == "train-reft")
    reft.edit(name, suspend=True)
    reft.until(name, lambda s: s["phase"] == "Suspended" and not reft.active_jobs(name))
    place.script("run").delays.clear()
    reft.edit(name, suspend=False)
    assert reft.until_ended(name)["phase"] == "Succeeded"


def test_a_weak_warm_up_ends_the_run(reft: Place) -> None:
    """Where the warm-up answers nothing right the run fails, and reinforces nothing."""
    reft.script("weak").figures["train-sft"] = Figures(metrics={"accuracy": 0.0})
    name = reft.apply(manifests.scripted_reft(reft.namespace, "weak", seed=901))
    status = reft.until_ended(name)
    told = status["conditions"][0]
    assert (status["phase"], told["reason"]) == ("Failed", "WarmUpTooWeak")
    assert "accuracy on the validation questions is 0, the gate wants at least" in told["message"]
    assert not any("train-reft" in job for job in reft.created_jobs(reft.uid(name)))


def test_overlapping_splits_are_warned_of(reft: Place) -> None:
    """Test questions that were trained on are counted in the condition Degraded; the run goes on."""
    reft.script("overlap").figures["prepare-test"] = Figures(counts={"overlap": 7})
    name = reft.apply(manifests.scripted_reft(reft.namespace, "overlap", seed=902))
    status = reft.until_ended(name)
    assert (status["phase"], conditions(status)["Degraded"]) == ("Succeeded", "True")
    [degraded] = [c for c in status["conditions"] if c["type"] == "Degraded"]
    assert "training split as well is 7" in degraded["message"]
    assert "SplitsOverlap" in {event["reason"] for event in reft.events(name)}


def test_a_run_away_kl_keeps_the_best_model(reft: Place) -> None:
    """With Stop the run goes on with the best model and says so; with Fail it fails."""
    figures = Figures(metrics={"accuracy": 0.6, "lastKl": 250.0})
    ends = {}
    for action in ("Stop", "Fail"):
        name = f"kl-{action.lower()}"
        reft.script(name).figures["train-ppo"] = figures
        gates = {"maxKl": {"limit": 100, "action": action}}
        seed = 903 + len(ends)
        reft.apply(manifests.scripted_reft(reft.namespace, name, seed=seed, gates=gates))
        status = reft.until_ended(name)
        ends[action] = (status["phase"], [c["reason"] for c in status["conditions"]])
    assert ends["Stop"][0] == "Succeeded"
    assert ends["Stop"][1][-1] == "KLTooLarge"
    assert (ends["Fail"][0], ends["Fail"][1][0]) == ("Failed", "KLTooLarge")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"algorithm": "sarsa"}, r"spec\.algorithm.*ppo"),
    ({"reasoning": "poetry"}, r"spec\.reasoning.*program"),
    ({"baselines": ["sft", "sft"]}, r"baselines must not name one twice"),
    ({"baselines": ["dpo"]}, r"spec\.baselines"),
    ({"warmUp": {"stopEpochs": 99, "epochs": 9}}, r"stopEpochs must not be above warmUp\.epochs"),
    ({"warmUp": {"untilAccuracy": 1.5}}, r"spec\.warmUp\.untilAccuracy"),
    ({"ppo": {"clipRatio": 0}}, r"spec\.ppo\.clipRatio"),
    ({"ppo": {"gaeLambda": 1.1}}, r"spec\.ppo\.gaeLambda"),
    ({"ppo": {"dropout": 0.1}}, r"ppo\.dropout must be 0"),
    ({"ppo": {"batchSize": 32, "miniBatchSize": 5}}, r"must be a multiple of ppo\.miniBatchSize"),
    ({"ppo": {"maxQuestionTokens": 64, "maxLength": 64}}, r"must be below ppo\.maxLength"),
    ({"grpo": {"groupSize": 1}}, r"spec\.grpo\.groupSize"),
    ({"answers": {"latex": True}}, r"answers\.latex needs answers\.kind text"),
    ({"answers": {"programSeconds": 0}}, r"spec\.answers\.programSeconds"),
    ({"reward": {"partial": 1}}, r"spec\.reward\.partial"),
    ({"voting": {"samples": 1}}, r"reranker\.enabled needs voting\.samples"),
    ({"lora": {"rank": 0}}, r"spec\.lora\.rank"),
    ({"sandbox": {"image": "evil"}}, r'unknown field "spec\.sandbox"'),
    ({"reranker": {"finalLearningRate": 0.9}}, r"reranker\.finalLearningRate must not be above"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_work_is_refused_at_apply(
    reft: Place, changes: dict[str, Any], words: str
) -> None:
    """Kubectl apply fails with the path of the field, or with what contradicts what."""
    spec = {"reranker": {"enabled": True}, "voting": {"samples": 8}}
    body = manifests.scripted_reft(reft.namespace, "refused", **spec)
    body = manifests.merged(body, {"spec": changes})
    assert re.search(words, reft.refusal(body, "--dry-run=server"))
