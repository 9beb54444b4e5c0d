"""GRPO by TRL: its settings, advantages and KL, and what our sampling and rewards make of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autodidact_contract.base import Lora
from autodidact_contract.stages.answers import Reward
from autodidact_store import open_store
from autodidact_worker.answers.grading import Grade
from autodidact_worker.generation import Completion
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.training.trainers import grpo
from support.grpo_runs import RunGrpo, figures, loss
from support.online_stages import digest

pytestmark = pytest.mark.training


def test_settings_are_those_of_the_paper(trainer: Any) -> None:
    """What TRL would do otherwise: loss, KL, group size, scaling, truncation, iterations."""
    found = trainer.args
    assert (found.loss_type, found.scale_rewards) == ("grpo", "group")
    assert (found.beta, found.epsilon, found.num_iterations) == (0.05, 0.2, 2)
    assert (found.num_generations, found.generation_batch_size) == (4, 16)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (8, 2)
    assert found.steps_per_generation == 2
    assert found.importance_sampling_level == "token"
    assert not found.mask_truncated_completions
    assert not found.use_vllm
    assert trainer.epsilon_high == 0.2


def test_advantages_are_normalised_in_their_group(
    run_grpo: RunGrpo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards 1, 0, 0.1, 1: the distance from their mean over their deviation plus 0.0001."""
    seen: list[torch.Tensor] = []
    real = grpo.GRPOTrainer._generate_and_score_completions

    def score(self: Any, inputs: Any) -> Any:
        found = real(self, inputs)
        seen.append(found["advantages"])
        return found

    graded = grpo.Rollout.rewards

    def rewards(self: grpo.Rollout, **_: Any) -> list[float]:
        return [1.0, 0.0, 0.1, 1.0] * (len(graded(self)) // 4)

    monkeypatch.setattr(grpo.GRPOTrainer, "_generate_and_score_completions", score)
    monkeypatch.setattr(grpo.Rollout, "rewards", rewards)
    run_grpo()
    assert len(seen) == 3
    for advantages in seen:
        assert advantages.view(4, 4)[0].tolist() == pytest.approx(
            [0.8635, -0.9544, -0.7726, 0.8635], abs=5e-5
        )
        assert torch.equal(advantages.view(4, 4), advantages.view(4, 4)[:1].expand(4, 4))


def test_kl_is_in_the_loss_and_summed_over_answers(trainer: Any) -> None:
    """0.01873, 0.00517 and 0.01873 a token: 0.04264 in the first answer, nothing in the second."""
    old = [-0.5, -1.0, -0.2]
    found = loss(trainer, old, old, [-0.7, -0.9, -0.4])
    # The advantages cancel: the ratio is 1 everywhere.
    assert found == pytest.approx(0.05 * 0.04264 / 3 / 2, abs=1e-6)
    figures = trainer._metrics["train"]
    assert figures["sequence_kl"][-1] == pytest.approx(0.04264 / 2, abs=1e-5)
    assert figures["kl"][-1] == pytest.approx(0.04264 / 4, abs=1e-5)


def test_loss_is_clipped_and_averaged_by_answer(trainer: Any) -> None:
    """Ratios 1.22140, 0.67032 and 1.10517 count as 1.2, 0.67032 and 1.10517."""
    new = [-0.3, -1.4, -0.1]
    found = loss(trainer, new, [-0.5, -1.0, -0.2], new)
    assert found == pytest.approx((-(1.2 + 0.67032 + 1.10517) / 3 + 1) / 2, abs=1e-5)


def test_a_group_has_different_answers_whoever_samples_them(trainer: Any) -> None:
    """Two processes ask for the visits of one; no visit comes twice."""
    asked = [{"question": q, "number": n} for q, n in ((3, 0), (5, 0), (3, 1), (4, 0))]
    rows = [row for row in asked for _ in range(4)]

    def visits(rank: int, world: int, share: list[dict[str, int]]) -> list[Any]:
        rollout = trainer.rollout
        rollout._layout = SimpleNamespace(rank=rank, world=world)
        rollout.begin(share)
        return list(rollout._visits)

    alone = visits(0, 1, rows)
    # Six and six, so that a group lies in both shares.
    assert visits(0, 2, rows[:6]) + visits(1, 2, rows[6:12]) == alone[:12]
    assert len({(visit.question, visit.number) for visit in alone}) == 16
    assert [visit.question for visit in alone[::4]] == [3, 5, 3, 4]


def test_rewards_are_ours(trainer: Any) -> None:
    """A right answer earns 1, a wrong number the partial reward, a cut answer as much."""
    score = trainer.rollout._score
    completion = Completion(text="7", tokens=1, finish="length", ids=(5,))
    assert score(Grade("7", "ok", True), completion) == 1.0
    assert score(Grade("7", "ok", False), completion) == 0.1
    assert score(Grade(None, "empty", False), completion) == 0.0


def test_answers_that_earn_more_become_likely(run_grpo: RunGrpo) -> None:
    """Any number earns half a reward: soon most answers are numbers."""
    _, output = run_grpo(
        epochs=12,
        passes=1,
        learning_rate=1e-2,
        beta=0.001,
        reward=Reward(partial=0.5, partial_when="numeric"),
    )
    first, last = (
        run_grpo(epochs=1, passes=1, seed=1)[1].metrics["unread"],
        output.metrics["unread"],
    )
    assert first.value > 0.3
    assert last.value < 0.1
    assert output.metrics["lastKl"].value > 0.1


def test_adapters_are_trained_and_merged(run_grpo: RunGrpo, toy_start: Path) -> None:
    """Linear layers change, all else does not; the reference is the model without adapters."""
    out, output = run_grpo(lora=Lora(rank=4))
    before, after = (load_file(path / "model.safetensors") for path in (toy_start, out))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    assert figures(out, "kl")[0] == 0.0 < figures(out, "kl")[-1]
    assert output.counts["trainableParameters"] < sum(w.numel() for w in before.values()) / 4


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker can catch it."""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("lora", "how", "resumed"),
    [
        (None, "kill at 1", 1),
        (None, "kill at 3", 3),
        (None, "kill at 4", 3),
        (None, "stop at 3", 5),
        (Lora(rank=4), "kill at 5", 5),
    ],
)
def test_a_resumed_training_ends_with_the_same_bytes(
    run_grpo: RunGrpo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lora: Lora | None,
    how: str,
    resumed: int,
) -> None:
    """Killed at a step or asked to stop there, it goes on after the last whole rollout."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    settings = {"store": store, "lora": lora, "validation": {"keep": "best"}}
    undisturbed = run_grpo(**settings)
    kind, _, last = how.rpartition(" at ")
    seen: list[int] = []

    def progress(step: int, _: int, **__: float) -> None:
        seen.append(step)
        if kind == "kill" and step == int(last):
            raise _Killed

    if kind == "kill":
        monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    with pytest.raises(StoppedError if kind == "stop" else _Killed):
        run_grpo(
            progress=progress,
            stopping=lambda: kind == "stop" and len(seen) >= int(last) - 1,
            **settings,
        )
    marker = Checkpoints.of(store, "team", "train-grpo", "0a1b").latest()
    assert (marker.step if marker else 0) == resumed - 1
    monkeypatch.delenv("AUTODIDACT_CHECKPOINT_SECONDS", raising=False)
    seen.clear()
    kind = ""
    again = run_grpo(progress=progress, **settings)
    assert seen[0] == resumed
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]


def test_training_ends_when_it_strays_too_far(run_grpo: RunGrpo) -> None:
    """The first rollout has no KL and the second has: it is the last one, and is measured."""
    out, output = run_grpo(max_kl=1e-6)
    assert (output.counts["rollouts"], output.counts["steps"]) == (2, 4)
    assert output.metrics["lastKl"].value == figures(out, "kl")[2] > 1e-6
    assert len(figures(out, "accuracy")) == 2


def test_without_weight_the_kl_is_measured_for_its_limit(run_grpo: RunGrpo) -> None:
    """With beta 0 the limit holds all the same, and measuring changes no bit of the model."""
    free, output = run_grpo(beta=0)
    assert "lastKl" not in output.metrics
    watched, output = run_grpo(beta=0, max_kl=100)
    assert output.metrics["lastKl"].value == figures(watched, "kl")[4] > 0
    weights = [(out / "model.safetensors").read_bytes() for out in (free, watched)]
    assert weights[0] == weights[1]
    assert figures(free, "loss") == figures(watched, "loss")
    _, output = run_grpo(beta=0, max_kl=1e-6)
    assert output.counts["rollouts"] == 2


def test_without_weight_adapters_are_watched_as_well(run_grpo: RunGrpo) -> None:
    """The reference is the model without adapters, which is not another model in memory."""
    out, output = run_grpo(beta=0, max_kl=1e-9, lora=Lora(rank=4))
    assert output.counts["rollouts"] == 2
    assert figures(out, "kl")[0] == 0.0 < output.metrics["lastKl"].value
