"""PPO as a stage: what it learns from, what it keeps, how it ends, and that a kill changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from autodidact_contract.stages.answers import Reward
from autodidact_contract.stages.base import Sampling
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import loop
from support import online_stages
from support.ppo_runs import RunPpo, curve, scripted

pytestmark = pytest.mark.training


def test_the_best_model_is_the_result(run_ppo: RunPpo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equals the earlier; with keep: last it is the last one, and its accuracy is reported."""
    often = {"every_epochs": 0.1}
    scripted(monkeypatch, 1, 4, 4, 2)
    best, output = run_ppo(validation={**often, "keep": "best"})
    assert output.counts["keptStep"] == 1
    assert output.metrics["accuracy"].value == pytest.approx(4 / 6)
    last, output = run_ppo(validation={**often, "keep": "last"})
    assert output.counts["keptStep"] == 3
    assert output.metrics["accuracy"].value == pytest.approx(2 / 6)
    scripted(monkeypatch, 1, 5, 4, 2)
    until, output = run_ppo(validation={**often, "keep": "last", "until": 0.8})
    assert output.counts["rollouts"] == 1
    assert (until / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    assert (last / "model.safetensors").read_bytes() != (best / "model.safetensors").read_bytes()


def test_nothing_is_learned_that_is_known(
    run_ppo: RunPpo, ppo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good enough before the first step, the model goes out as it came."""
    scripted(monkeypatch, 6)
    out, output = run_ppo(validation={"until": 1.0, "keep": "best"})
    assert output.counts["rollouts"] == 0
    assert (out / "model.safetensors").read_bytes() == (
        ppo_model / "model.safetensors"
    ).read_bytes()


def test_a_large_kl_ends_the_training(run_ppo: RunPpo) -> None:
    """The rollout after which it is too large is the last; there is a result, and it says why."""
    kls = [line["kl"] for line in curve(run_ppo(epochs=4)[0])]
    largest = max(kls)
    limit = sorted(kls)[-2]
    out, output = run_ppo(epochs=4, max_kl=limit)
    assert output.counts["rollouts"] == kls.index(largest) + 1 < len(kls)
    assert output.metrics["lastKl"].value == largest > limit
    model_files.check(out)


def test_no_reward_ends_the_run(run_ppo: RunPpo) -> None:
    """After an epoch in which nothing was worth anything; the sentence says what to do."""
    impossible = [problem.model_copy(update={"answer": "7"}) for problem in online_stages.PROBLEMS]
    nothing = Reward(partial=0.0, partial_when="numeric")
    with pytest.raises(UserError, match="none of the 16 answers of the first 2 rollouts") as caught:
        run_ppo(problems=impossible, reward=nothing)
    assert caught.value.reason == "NoReward"


def test_cut_answers_end_the_run(run_ppo: RunPpo) -> None:
    """All of them, though they may be read and rewarded."""
    with pytest.raises(
        UserError, match="all 16 answers of the first 2 rollouts were cut"
    ) as caught:
        run_ppo(sampling=Sampling(temperature=0.02, top_p=1, max_new_tokens=1))
    assert caught.value.reason == "AllAnswersCut"


def test_a_loss_that_is_no_number_ends_the_run(run_ppo: RunPpo) -> None:
    """The sentence has step, rate and remedy."""
    with pytest.raises(UserError, match=r"at step \d+ of 12 .* lower learningRate") as caught:
        run_ppo(learning_rate=1e30, max_grad_norm=1e30, final_learning_rate=1e29)
    assert caught.value.reason == "NaNLoss"


def test_no_step_is_taken_on_a_gradient_that_is_no_number(
    run_ppo: RunPpo, monkeypatch: Any
) -> None:
    """The weights stay those of the step before."""
    taken: list[dict[str, Any]] = []
    original = Engine.step

    def step(self: Engine, rates: Any) -> float:
        next(self.network.parameters()).grad[0, 0] = float("nan")  # type: ignore[index]
        before = [p.detach().clone() for p in self.network.parameters()]
        norm = original(self, rates)
        after = list(self.network.parameters())
        taken.append({"same": all(map(torch.equal, before, after)), "norm": norm})
        return norm

    monkeypatch.setattr(Engine, "step", step)
    with pytest.raises(UserError, match="gradient norm nan at step 1 of 12"):
        run_ppo()
    assert [entry["same"] for entry in taken] == [True]


@pytest.mark.parametrize(
    ("batch", "mini", "micro", "world"),
    [(8, 3, None, 1), (8, 4, 3, 1), (8, 4, 4, 2), (8, None, None, 3), (2, 1, None, 2)],
)
def test_batches_that_do_not_divide_are_refused(
    batch: int, mini: int | None, micro: int | None, world: int
) -> None:
    """The sentence has all numbers."""
    config = online_stages.ppo_config(batch_size=batch, micro_batch_size=micro)
    with pytest.raises(UserError, match=f"batchSize {batch} .* {world} processes") as caught:
        loop.plan(config, 12, mini, Layout(world=world, gpu=False))
    assert caught.value.reason == "InvalidBatchSize"


def test_the_plan_rounds_epochs_to_rollouts() -> None:
    """Two epochs of twelve questions are three rollouts of eight; there is at least one."""
    config = online_stages.ppo_config(micro_batch_size=None)
    plan = loop.plan(config, 12, 4, Layout(world=2, gpu=False))
    assert (plan.rollouts, plan.steps, plan.step, plan.micro) == (3, 12, 2, 2)
    short = config.model_copy(update={"epochs": 0.01})
    assert loop.plan(short, 12, None, Layout(gpu=False)).rollouts == 1
