"""DPO by TRL: on pairs of targets, against the starting model."""

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from torch.utils.data import DataLoader
from trl import DPOConfig, DPOTrainer
from trl.models import prepare_deepspeed

from autodidact_contract.stages import TrainDpo
from autodidact_worker import adapters
from autodidact_worker.distributed import Layout
from autodidact_worker.frame import Context, Output
from autodidact_worker.trainers import loop
from autodidact_worker.trainers.adapter import Adapter
from autodidact_worker.training import Row, Start, micro_batches, order, steps

log = logging.getLogger(__name__)


def train(context: Context, begin: Start, rows: Sequence[Row], layout: Layout) -> Output:
    """Trains on pairs of targets against the starting model and writes the model.

    Source: arXiv 2305.18290 equation 7; with ``nll_coefficient`` the mean over the batch's chosen
    tokens of their negative log-likelihood is added.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``, ``LoraNotApplicable`` or ``WrongWorldSize``.
    """
    config: TrainDpo = context.config
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
        peft_config=adapters.config(begin.model, config.lora),
    )
    lengths = [row.length for row in rows]
    taken = order(lengths, config.epochs, config.batch_size, config.seed)
    schedule = steps(len(rows), config.epochs, config.batch_size)
    trainer.adapt(context, begin, layout, taken=taken, schedule=schedule)
    loop.run(trainer)
    return loop.output(trainer, loop.row_counts(trainer, rows, taken))


def arguments(context: Context, layout: Layout) -> DPOConfig:
    """Returns TRL's settings for a DPO stage."""
    config: TrainDpo = context.config
    nll = config.nll_coefficient
    return DPOConfig(
        **loop.arguments(context, layout, micro_batches(config, layout.world)),
        train_sampling_strategy="sequential",
        max_length=None,
        beta=config.beta,
        loss_type=["sigmoid", "sft"] if nll else ["sigmoid"],
        loss_weights=[1.0, nll] if nll else [1.0],
        disable_dropout=False,
        precompute_ref_log_probs=True,
    )


class _Dpo(Adapter, DPOTrainer):
    """TRL's DPO with the adapter, and reference log-probabilities in memory.

    TRL keeps them in a cache file that rank 0 writes and all others open, which needs a disk that
    all nodes share.
    """

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator)
        loader = self.accelerator.prepare(loader)
        model = self.model
        if self.is_deepspeed_enabled:
            model = prepare_deepspeed(self.model, self.accelerator)
        model.eval()
        columns: tuple[list[float], list[float]] = ([], [])
        for batch in loader:
            found = self.accelerator.gather_for_metrics(self.compute_ref_log_probs(model, batch))
            for column, values in zip(columns, found, strict=True):
                column.extend(values.float().tolist())
        if self.is_deepspeed_enabled:
            # ZeRO-3 would go on following the model's passes, and stumble over those of training.
            model.destroy()
        log.info("reference log-probabilities of %d pairs (%s)", len(columns[0]), name)
        dataset = dataset.add_column("ref_chosen_logps", columns[0])
        return dataset.add_column("ref_rejected_logps", columns[1])
