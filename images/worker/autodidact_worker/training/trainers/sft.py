"""SFT by TRL: the targets of rows are learned, with their end tokens."""

from collections.abc import Sequence
from typing import ClassVar

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from autodidact_contract.stages.training import TrainSft
from autodidact_worker.models import lora
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.schedule import micro_batches, order, steps
from autodidact_worker.training.start import Row, Start
from autodidact_worker.training.trainers import run
from autodidact_worker.training.trainers.adapter import Adapter
from autodidact_worker.training.trainers.measuring import Measuring


def train(
    context: Context[TrainSft],
    begin: Start,
    rows: Sequence[Row],
    layout: Layout,
    measuring: Measuring | None = None,
) -> Output:
    """Trains on the targets of the rows and writes the model.

    With ``stop_epochs`` the rates are those of the whole schedule, and the rows those of so many
    epochs: each of them comes once an epoch.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``, ``LoraNotApplicable`` or ``WrongWorldSize``.
    """
    config = context.config
    data = {
        "input_ids": [row.prompt + row.targets[0] for row in rows],
        "labels": [[-100] * len(row.prompt) + row.targets[0] for row in rows],
    }
    trainer = Sft(
        model=begin.model,
        args=SFTConfig(
            **run.arguments(context, layout, micro_batches(config, layout.world)),
            train_sampling_strategy="sequential",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(data),
        processing_class=begin.tokenizer,
        peft_config=lora.config(begin.model, config.lora),
    )
    lengths = [row.length for row in rows]
    epochs = min(config.stop_epochs or config.epochs, config.epochs)
    taken = order(lengths, epochs, config.batch_size, config.seed)
    schedule = steps(len(rows), config.epochs, config.batch_size)
    trainer.adapt(context, begin, layout, taken=taken, schedule=schedule, measuring=measuring)
    run.run(trainer)
    return run.output(trainer, run.row_counts(trainer, rows, taken))


class Sft(Adapter, SFTTrainer):
    """TRL's SFT with the adapter."""

    LOGGED: ClassVar = {"mean_token_accuracy": "tokenAccuracy", "entropy": "entropy"}
