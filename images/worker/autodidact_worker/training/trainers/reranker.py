"""The reranker's training by transformers: two classes, told apart by the last token.

Source: arXiv 2401.08967 section 4.3. Departure: the published code reports the best step on the test
split. There are no labelled samples of validation questions, so the last model is the result.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from transformers import Trainer, TrainingArguments

from autodidact_contract.stages.training import TrainReranker
from autodidact_worker.models import classifier, lora
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.schedule import micro_batches, order, steps
from autodidact_worker.training.start import Row, Start
from autodidact_worker.training.trainers import run
from autodidact_worker.training.trainers.adapter import Adapter


def train(
    context: Context[TrainReranker],
    begin: Start,
    rows: Sequence[Row],
    labels: Sequence[int],
    layout: Layout,
) -> Output:
    """Trains a classifier on whole rows and writes it.

    Args:
        context: The stage.
        begin: A classifier.
        rows: What is judged; all of it is in ``prompt``.
        labels: Class of each row.
        layout: On what it runs.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``, ``LoraNotApplicable`` or ``WrongWorldSize``.
    """
    config = context.config
    trainer = _Reranker(
        model=lora.wrap(begin.model, config.lora),
        args=TrainingArguments(
            **run.arguments(context, layout, micro_batches(config, layout.world)),
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_dict(
            {"ids": [row.prompt for row in rows], "label": list(labels)}
        ),
        processing_class=begin.tokenizer,
        data_collator=_Collator(begin.tokenizer.pad_token_id),
    )
    lengths = [row.length for row in rows]
    taken = order(lengths, config.epochs, config.batch_size, config.seed)
    schedule = steps(len(rows), config.epochs, config.batch_size)
    trainer.adapt(context, begin, layout, taken=taken, schedule=schedule)
    run.run(trainer)
    counts = run.row_counts(trainer, rows, taken)
    return run.output(trainer, {**counts, "correct": sum(labels)})


class _Collator:
    """Makes batches of rows."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = classifier.collate([row["ids"] for row in rows], self._pad)
        return {**batch, "labels": torch.tensor([row["label"] for row in rows])}


class _Reranker(Adapter, Trainer):
    """transformers' trainer with the adapter and a loss that knows of gradient accumulation."""

    loss_is_scaled_for_ga = False

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Returns the mean cross-entropy of a pass."""
        labels = inputs.pop("labels")  # (B,)
        logits = model(**inputs).logits  # (B, 2)
        return functional.cross_entropy(logits.float(), labels)
