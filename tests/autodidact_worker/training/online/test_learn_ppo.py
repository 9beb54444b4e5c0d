from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autodidact_worker.stages import train_ppo
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import ppo
from support.ppo_runs import RunPpo, curve

pytestmark = pytest.mark.training


def test_the_first_pass_has_ratio_one(run_ppo: RunPpo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, for every action, and nothing is clipped: nothing is dropped and nothing is moved."""
    seen: list[bool] = []
    original = ppo.ratios

    def ratios(log_probs: Any, old: Any, mask: Any) -> Any:
        found = original(log_probs, old, mask)
        seen.append(bool((found == 1).all()))
        return found

    monkeypatch.setattr(ppo, "ratios", ratios)
    out, _ = run_ppo(mini_batch_size=None, epochs=1, passes=1, beta=0.1)
    assert len(seen) == 2 * 4 * 2  # rollouts, passes of two answers, loss and figure
    assert all(seen)
    assert [(line["ratio"], line["clipFraction"]) for line in curve(out)] == [(1, 0), (1, 0)]
    seen.clear()
    run_ppo(mini_batch_size=None, epochs=0.5)
    assert seen == [True] * 8 + [False] * 8  # of the second pass no longer


def test_the_reference_is_frozen(run_ppo: RunPpo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are the start's, bit by bit, after the training; so the first KL is 0."""
    made: list[Any] = []
    original = train_ppo.engines.frozen

    def frozen(network: Any, *rest: Any) -> Any:
        made.append((network, {n: p.clone() for n, p in network.named_parameters()}))
        return original(network, *rest)

    monkeypatch.setattr(train_ppo.engines, "frozen", frozen)
    out, _ = run_ppo()
    network, before = made[0]
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert curve(out)[0]["kl"] == 0
    assert curve(out)[1]["kl"] != 0


def test_accumulation_changes_nothing_but_rounding(run_ppo: RunPpo) -> None:
    """Passes of one, two or four answers make the same steps."""
    curves = [curve(run_ppo(micro_batch_size=micro)[0]) for micro in (1, 2, 4)]
    for other in curves[1:]:
        for line, wanted in zip(other, curves[0], strict=True):
            assert line == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_loss_is_a_mean_over_answers(run_ppo: RunPpo) -> None:
    """Of the first step, from its parts; the value loss has its coefficient."""
    out, _ = run_ppo(epochs=0.5, passes=1, mini_batch_size=None, value_coefficient=3.0)
    line = curve(out)[0]
    assert line["loss"] == pytest.approx(line["policyLoss"] + 3 * line["valueLoss"], rel=1e-5)


def test_value_warm_up_teaches_the_head_alone(run_ppo: RunPpo, ppo_model: Path) -> None:
    """One rollout leaves every weight of the policy as it was, bit by bit; the next does not."""
    before = load_file(ppo_model / "model.safetensors")
    for epochs, same in ((0.5, True), (1.5, False)):
        out, _ = run_ppo(value_warmup_steps=1, epochs=epochs)
        after = load_file(out / "model.safetensors")
        assert all(torch.equal(before[name], after[name]) == same for name in before)


def test_the_first_step_after_a_warm_up_is_a_first_step(
    run_ppo: RunPpo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's first step is as long as the rate for every weight that has a gradient.

    With the steps of the warm-up counted it would be 0.545 times as long after four of them, for
    0.1 / (1 - 0.9^5) / sqrt(0.001 / (1 - 0.999^5)) is that.
    """
    longest: list[float] = []
    original = Engine.step

    def step(self: Engine, rates: Any) -> float:
        before = [p.detach().clone() for p in self.network.model.parameters()]
        norm = original(self, rates)
        after = self.network.model.parameters()
        moved = (float((a - b).detach().abs().max()) for a, b in zip(after, before, strict=True))
        longest.append(max(moved))
        return norm

    monkeypatch.setattr(Engine, "step", step)
    rate = {"learning_rate": 1e-3, "schedule": "constant", "weight_decay": 0.0}
    run_ppo(value_warmup_steps=1, epochs=1.5, **rate)
    assert longest[:4] == [0.0] * 4
    assert longest[4] == pytest.approx(1e-3, rel=1e-3)


def test_a_separate_value_network_leaves_the_policy_alone(run_ppo: RunPpo) -> None:
    """With values that cost nothing in the policy's gradient, another value loss moves nothing."""
    settings = {"value_network": "separate", "epochs": 0.5, "passes": 1, "max_grad_norm": 1e9}
    weights = [
        load_file(run_ppo(value_coefficient=c, **settings)[0] / "model.safetensors") for c in (1, 9)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
