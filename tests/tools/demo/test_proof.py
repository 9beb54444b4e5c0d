"""The proof: its arms are runs, its claims are judged, and one quick seed shows that ReFT learns."""

import json
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import run_prefix
from autodidact_operator.local.run import run_ref
from autodidact_operator.plan.recipes import BY_KIND
from tools import local_run
from tools.demo import reft_arms
from tools.demo.arms import Arm, Claim, merged
from tools.demo.outcome import Outcome
from tools.demo.presenting import judge, of_arm, table
from tools.demo.proof import ARMS
from tools.local_run import run

PAGE = Path("out/a/0/report/report.html")


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_an_arm_is_a_run(arm: Arm) -> None:
    """The example with its changes is a spec, and seeds differ in seed and name alone."""
    first, second = arm.body(0), arm.body(1)
    spec = BY_KIND[first["kind"]].spec.model_validate(first["spec"])
    assert spec.seed == 0
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert {**first["spec"], "seed": 1} == second["spec"]


def test_arms_have_names_of_their_own() -> None:
    """An arm that is compared with another one comes after it, in the same task."""
    names = [arm.name for arm in ARMS]
    assert len(set(names)) == len(names)
    for number, arm in enumerate(ARMS):
        if arm.beside:
            [other] = [one for one in ARMS[:number] if one.name == arm.beside]
            assert other.task == arm.task


def test_changes_go_as_deep_as_the_spec() -> None:
    """A mapping changes the fields it names, None takes one out, the example stays as it was."""
    spec = {"data": {"a": 1, "b": 2}, "seed": 0}
    assert merged(spec, {"data": {"b": None, "c": 3}, "pairs": {"rho": [0.4]}}) == {
        "data": {"a": 1, "c": 3},
        "seed": 0,
        "pairs": {"rho": [0.4]},
    }
    assert spec == {"data": {"a": 1, "b": 2}, "seed": 0}


def test_a_table_has_mean_and_spread() -> None:
    """Of 0.4 and 0.6 they are 0.5 and 0.141; a row without a value is left out."""
    arm = _arm(Claim(what="accuracy", value=_accuracy, at_least=0.5))
    found = {"a": {0: _ended(0.4), 1: _ended(0.6)}}
    told = of_arm(arm, found, Path("out"))
    assert told["rows"]["accuracy"]["mean"] == pytest.approx(0.5)
    assert told["rows"]["accuracy"]["sd"] == pytest.approx(0.1414, abs=1e-4)
    assert told["reports"] == ["a/0/report/report.html"] * 2
    assert "never measured" not in told["rows"]
    [*_, last] = table(arm, found["a"]).columns
    assert next(iter(last.cells)) == "0.500 ± 0.141"


@pytest.mark.parametrize(
    ("bounds", "held"),
    [
        ({"at_least": 0.5}, False),
        ({"at_least": 0.4}, True),
        ({"at_least": 0.5, "on_average": True}, True),
        ({"at_most": 0.5}, False),
        ({"at_most": 0.5, "on_average": True}, True),
        ({}, True),
    ],
)
def test_a_claim_is_of_every_seed_or_of_the_mean(bounds: dict[str, Any], held: bool) -> None:
    """The figures are 0.4 and 0.6; without a bound nothing is claimed."""
    arm = _arm(Claim(what="accuracy", value=_accuracy, **bounds))
    [verdict] = judge(arm, {"a": {0: _ended(0.4), 1: _ended(0.6)}})
    assert verdict.right == held
    assert verdict.said.startswith("a: accuracy: +0.4, +0.6; ")


def test_what_was_not_measured_is_no_proof() -> None:
    """A claim about a figure that a run does not have did not hold."""
    arm = _arm(Claim(what="accuracy", value=_accuracy, at_least=0))
    [verdict] = judge(arm, {"a": {0: _ended(0.4), 1: _ended(None)}})
    assert not verdict.right


def test_an_arm_is_compared_with_the_same_seed_of_another() -> None:
    """0.6 against 0.5 is 0.1 more; without the other arm the claim is not looked at."""
    claim = Claim(
        what="more",
        value=lambda ours, theirs: (
            ours.figure("ppo", "accuracy") - theirs.figure("ppo", "accuracy")
        ),
        at_least=0.09,
    )
    arm = _arm(claim, beside="b")
    runs = {0: _ended(0.6)}
    [verdict] = judge(arm, {"a": runs, "b": {0: _ended(0.5)}})
    assert verdict.said == "a: more: +0.1; at least 0.09 on every seed: held"
    assert judge(arm, {"a": runs}) == []


def test_cpu_seconds_add_up_over_invocations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 seconds until an interruption, 2 after it and 0.5 to look again: 5, 7 and 7.5."""
    body = ARMS[0].body(0)
    uid = run_ref(body["kind"], local_run.NAMESPACE, body["metadata"]["name"], body["spec"]).uid
    record = tmp_path / "store" / run_prefix(local_run.NAMESPACE, uid) / "run.json"
    record.parent.mkdir(parents=True)
    ended = {"status": _ended(0.5).status.model_dump(mode="json", by_alias=True)}
    monkeypatch.setattr(local_run, "command_line", lambda *_: record.write_text(json.dumps(ended)))
    clock = iter((0.0, 5.0, 5.0, 7.0, 7.0, 7.5))
    monkeypatch.setattr(local_run, "cpu_of_children", lambda: next(clock))
    assert [run(body, tmp_path).cpu_seconds for _ in range(3)] == [5.0, 7.0, 7.5]


@pytest.mark.thorough
@pytest.mark.training
@pytest.mark.timeout(1800)
def test_reft_beats_sft_on_mixed_annotations(tmp_path: Path) -> None:
    """From one warm-up and for the same compute, ReFT wins by 0.3 and more on held-out questions."""
    [mixed] = [arm for arm in reft_arms.ARMS if arm.name == "mixed"]
    body = mixed.body(0)
    body["spec"] = merged(body["spec"], {"voting": {"samples": 0}, "reranker": {"enabled": False}})
    gain = reft_arms.gain(Outcome(status=run(body, tmp_path).status, page=PAGE))
    assert gain is not None
    assert gain >= reft_arms.GAIN


def _accuracy(found: Outcome, _: Outcome) -> float | None:
    return found.figure("ppo", "accuracy")


def _arm(*claims: Claim, beside: str = "") -> Arm:
    rows = (
        ("accuracy", lambda found: found.figure("ppo", "accuracy")),
        ("never measured", lambda found: found.figure("ppo", "vote_accuracy")),
    )
    return Arm(
        task="reft",
        name="a",
        title="An arm",
        manifest="reft-toy.yaml",
        basis="nothing",
        groups=(rows,),
        claims=claims,
        beside=beside,
    )


def _ended(accuracy: float | None) -> Outcome:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Completed",
        "message": "all is done",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    history = [{"iteration": 1, "name": "ppo", "accuracy": accuracy}]
    raw = {"phase": "Succeeded", "history": history, "conditions": [condition]}
    return Outcome(status=RunStatus.model_validate(raw), page=PAGE)
