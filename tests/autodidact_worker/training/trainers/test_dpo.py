import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import DPOTrainer

from autodidact_contract.base import Lora
from autodidact_contract.records import Pair
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.stages import train_dpo
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.trainers import dpo
from support import chain
from support.training_rows import (
    PAIRS,
    Run,
    digest,
    figures,
)


@pytest.mark.parametrize(
    ("policy", "reference", "nll", "loss"),
    [
        ((-10.0, -12.0), (-10.0, -12.0), 0, 0.693147),
        ((-9.0, -14.0), (-10.0, -12.0), 0, 0.554355),
        ((-13.0, -12.0), (-10.0, -12.0), 0, 0.854355),
        ((-9.0, -14.0), (-10.0, -12.0), 1, 1.554355),
    ],
)
def test_dpo_loss_is_the_paper_s(
    llama: Path,
    tmp_path: Path,
    policy: tuple[float, float],
    reference: tuple[float, float],
    nll: float,
    loss: float,
) -> None:
    """TRL's loss on given log-probabilities: beta 0.1, nine tokens a reply, computed by hand."""
    found, gradient = _dpo_loss(_dpo_trainer(llama, tmp_path, nll), policy, reference)
    assert found == pytest.approx(loss, abs=1e-5)
    if not nll and policy == (-9.0, -14.0):
        assert float(gradient[0, 1]) == pytest.approx(-0.042556, abs=1e-6)


@pytest.mark.parametrize(
    ("consistency", "nll", "loss", "gradient"),
    [
        # Margin 0.3: 0.554355 as it is and 0.854355 exchanged. The slope is -sigmoid(-0.3), which
        # is -0.425557, plus what is exchanged; beta 0.1 is between it and a log-probability.
        (0.8, 0, 0.614355, -0.0225557),
        (0.75, 0, 0.629355, -0.0175557),
        (0.5, 0, 0.704355, 0.0074443),
        (0.0, 0, 0.854355, 0.0574443),
        (0.75, 1, 1.629355, -0.0175557 - 1 / 9),
    ],
)
def test_a_pair_counts_in_part_the_other_way_round(
    llama: Path, tmp_path: Path, consistency: float, nll: float, loss: float, gradient: float
) -> None:
    """C times DPO's loss and 1 - C times that of the exchanged pair, computed by hand."""
    trainer = _dpo_trainer(llama, tmp_path, nll)
    found, slope = _dpo_loss(trainer, (-9.0, -14.0), (-10.0, -12.0), consistency)
    assert found == pytest.approx(loss, abs=1e-5)
    assert float(slope[0, 1]) == pytest.approx(gradient, abs=1e-6)


def test_a_pair_that_counts_in_full_is_plain_dpo(llama: Path, tmp_path: Path) -> None:
    """With C = 1 loss and gradient are those without it, to the last bit."""
    trainer = _dpo_trainer(llama, tmp_path, 1)
    plain = _dpo_loss(trainer, (-9.1, -14.7), (-10.3, -12.2))
    whole = _dpo_loss(trainer, (-9.1, -14.7), (-10.3, -12.2), 1.0)
    assert plain[0] == whole[0]
    assert torch.equal(plain[1], whole[1])


def _dpo_loss(
    trainer: Any,
    policy: tuple[float, float],
    reference: tuple[float, float],
    consistency: float | None = None,
) -> tuple[float, torch.Tensor]:
    """Loss of one pair of replies with nine tokens each, and its slope by token."""
    logs = torch.zeros(2, 10)
    for row, value in enumerate(policy):
        logs[row, 1:] = value / 9
    logs.requires_grad_()
    trainer.model.train()
    mask = torch.tensor([[0, 0, *[1] * 9]] * 2)
    batch = {
        "input_ids": torch.ones(2, 11, dtype=torch.long),
        "attention_mask": torch.ones(2, 11, dtype=torch.long),
        "completion_mask": mask,
        "ref_chosen_logps": torch.tensor(reference[:1]),
        "ref_rejected_logps": torch.tensor(reference[1:]),
    }
    if consistency is not None:
        batch["consistency"] = torch.tensor([consistency])
    zeros = torch.zeros(2, 10)

    def forward(**_: Any) -> SimpleNamespace:
        return SimpleNamespace(
            log_probs=logs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )

    found = trainer.compute_loss(forward, batch)
    found.backward()
    return found.item(), logs.grad


def _dpo_trainer(llama: Path, folder: Path, nll: float) -> Any:
    context = SimpleNamespace(scratch=folder, config=chain.dpo_config(nll_coefficient=nll))
    loaded = loading._load(llama)
    data = {"prompt_ids": [[5]], "chosen_ids": [[6]], "rejected_ids": [[7]]}
    trainer = dpo._Dpo(
        model=loaded.model,
        args=dpo.arguments(context, Layout(gpu=False)),
        train_dataset=Dataset.from_dict(data),
        processing_class=loaded.tokenizer,
    )
    assert isinstance(trainer, DPOTrainer)
    return trainer


def test_dpo_starts_at_its_reference(run_trainer: Run, llama: Path) -> None:
    """The first loss is ln 2 and the margin grows; the starting model's files stay as they were."""
    before = digest(llama)
    out, output = run_trainer(train_dpo, pairs=PAIRS, epochs=4, batch_size=6)
    curve = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert curve[-1]["rewardsMargin"] > 0.01
    assert output.metrics["rewardsAccuracy"].value == 1.0
    assert output.counts["rows"] == 12
    assert digest(llama) == before
    model_files.check(out)


def exchanged(pair: Pair) -> Pair:
    """The pair the other way round."""
    return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_no_consistency_is_training_on_exchanged_pairs(run_trainer: Run, lora: Lora | None) -> None:
    """Pairs with C = 0 are learned as if their replies were exchanged, step by step."""
    settings = {"epochs": 3, "batch_size": 6, "micro_batch_size": 2, "learning_rate": 1e-2}
    settings["lora"] = lora
    weighed = [pair.model_copy(update={"consistency": 0.0}) for pair in PAIRS]
    out, _ = run_trainer(train_dpo, pairs=weighed, **settings)
    wanted, _ = run_trainer(train_dpo, pairs=[exchanged(pair) for pair in PAIRS], **settings)
    losses, others = figures(out, "loss"), figures(wanted, "loss")
    assert losses[-1][1] < 0.99 * math.log(2)
    for (_, loss), (_, other) in zip(losses, others, strict=True):
        assert loss == pytest.approx(other, abs=2e-4)


def test_dpo_with_adapters_has_the_start_as_its_reference(run_trainer: Run) -> None:
    """The first loss is ln 2, and the margin grows from there."""
    out, _ = run_trainer(
        train_dpo, pairs=PAIRS, epochs=4, batch_size=6, lora=Lora(rank=4), learning_rate=1e-2
    )
    losses = [value for _, value in figures(out, "loss")]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert figures(out, "rewardsMargin")[-1][1] > 0.01
