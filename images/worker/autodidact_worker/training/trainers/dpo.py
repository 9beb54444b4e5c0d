"""DPO by TRL: on pairs of targets, against the starting model."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from trl.models.utils import prepare_deepspeed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from autodidact_contract.stages.training import TrainDpo
from autodidact_worker.models import lora
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.schedule import micro_batches, order, steps
from autodidact_worker.training.start import Row, Start
from autodidact_worker.training.trainers import run
from autodidact_worker.training.trainers.adapter import Adapter
from autodidact_worker.training.trainers.measuring import Measuring

log = logging.getLogger(__name__)


def train(
    context: Context[TrainDpo],
    begin: Start,
    rows: Sequence[Row],
    layout: Layout,
    consistency: Sequence[float] = (),
    measuring: Measuring | None = None,
) -> Output:
    """Trains on pairs of targets against the starting model and writes the model.

    Source: arXiv 2305.18290 equation 7; with ``nll_coefficient`` the mean over the batch's chosen
    tokens of their negative log-likelihood is added.

    Args:
        context: The stage.
        begin: What the training starts from.
        rows: Prompt, chosen and rejected target of each pair.
        layout: On what it runs.
        consistency: Of each pair the share in which it counts as it is; the rest counts with the
            targets exchanged (arXiv 2410.12735). Empty: all of it. The likelihood of the chosen
            ones is not weighted.
        measuring: Measures the model on the way.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``, ``LoraNotApplicable`` or ``WrongWorldSize``.
    """
    config = context.config
    data = {
        "prompt_ids": [row.prompt for row in rows],
        "chosen_ids": [row.targets[0] for row in rows],
        "rejected_ids": [row.targets[1] for row in rows],
    }
    trainer = _Dpo(
        model=begin.model,
        args=arguments(context, layout),
        train_dataset=Dataset.from_dict(data),
        processing_class=begin.tokenizer,
        peft_config=lora.config(begin.model, config.lora),
    )
    if any(share != 1 for share in consistency):
        trainer.weigh(consistency)
    lengths = [row.length for row in rows]
    taken = order(lengths, config.epochs, config.batch_size, config.seed)
    schedule = steps(len(rows), config.epochs, config.batch_size)
    trainer.adapt(context, begin, layout, taken=taken, schedule=schedule, measuring=measuring)
    run.run(trainer)
    return run.output(trainer, run.row_counts(trainer, rows, taken))


def arguments(context: Context[TrainDpo], layout: Layout) -> DPOConfig:
    """Returns TRL's settings for a DPO stage."""
    config = context.config
    nll = config.nll_coefficient
    return DPOConfig(
        **run.arguments(context, layout, micro_batches(config, layout.world)),
        train_sampling_strategy="sequential",
        max_length=None,
        beta=config.beta,
        loss_type=["sigmoid", "sft"] if nll else ["sigmoid"],
        loss_weights=[1.0, nll] if nll else [1.0],
        disable_dropout=False,
        precompute_ref_log_probs=True,
    )


class _Dpo(Adapter, DPOTrainer):
    """TRL's DPO with the adapter, pairs that count in part, and reference values in memory.

    TRL keeps the reference log-probabilities in a cache file that rank 0 writes and all others
    open, which needs a disk that all nodes share.
    """

    LOGGED: ClassVar = {
        "mean_token_accuracy": "tokenAccuracy",
        "rewards/margins": "rewardsMargin",
        "rewards/accuracies": "rewardsAccuracy",
        "rewards/chosen": "rewardsChosen",
        "rewards/rejected": "rewardsRejected",
        "entropy": "entropy",
    }

    def weigh(self, consistency: Sequence[float]) -> None:
        """Makes each pair count by this share; by the rest it counts with its targets exchanged."""
        self.args.remove_unused_columns = False
        self.train_dataset = self.train_dataset.add_column("consistency", list(consistency))
        self.data_collator = partial(_collate, self.data_collator)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        """Returns TRL's loss, and what the exchanged share of the pairs adds to it.

        With margin x and share C a pair's loss is -C log sigmoid(x) - (1 - C) log sigmoid(-x),
        which is -log sigmoid(x) + (1 - C) x. TRL has no such loss: its ``label_smoothing`` does
        nothing to ``sigmoid``.
        """
        consistency = inputs.pop("consistency", None)
        if consistency is None:
            return super().compute_loss(model, inputs, *rest, **more)
        seen: list[Any] = []

        def forward(**given: Any) -> Any:
            seen.append(model(**given))
            return seen[-1]

        loss = super().compute_loss(forward, inputs, *rest, **more)
        tokens = inputs["input_ids"].shape[1] - 1  # each but the first one is predicted
        chosen, rejected = seen[0].log_probs[:, -tokens:].sum(1).chunk(2)  # (B,) each
        margins = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        return loss + ((1 - consistency) * self.beta * margins).mean()

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator)
        loader = self.accelerator.prepare(loader)
        assert self.model is not None
        sharded = None
        if self.is_deepspeed_enabled:
            sharded = prepare_deepspeed(self.model, self.accelerator)
        model = sharded or self.model
        model.eval()
        columns: tuple[list[float], list[float]] = ([], [])
        for batch in loader:
            found = self.accelerator.gather_for_metrics(self.compute_ref_log_probs(model, batch))
            for column, values in zip(columns, found, strict=True):
                column.extend(values.float().tolist())
        if sharded:
            # ZeRO-3 would go on following the model's passes, and stumble over those of training.
            sharded.destroy()
        log.info("reference log-probabilities of %d pairs (%s)", len(columns[0]), name)
        dataset = dataset.add_column("ref_chosen_logps", columns[0])
        return dataset.add_column("ref_rejected_logps", columns[1])


def _collate(
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]], pairs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Returns what TRL makes of a batch, and its consistencies, ``(B,)`` float32."""
    shares = torch.tensor([pair["consistency"] for pair in pairs])
    return {**collate(pairs), "consistency": shares}
