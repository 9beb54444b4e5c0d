"""SFT by TRL: on the targets of rows, end token included."""

from collections.abc import Sequence

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from autodidact_contract.stages import TrainSft
from autodidact_worker import adapters
from autodidact_worker.distributed import Layout
from autodidact_worker.frame import Context, Output
from autodidact_worker.trainers import loop
from autodidact_worker.trainers.adapter import Adapter
from autodidact_worker.trainers.measuring import Measuring
from autodidact_worker.training import Row, Start, micro_batches, order, steps


def train(
    context: Context,
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
    config: TrainSft = context.config
    data = {
        "input_ids": [row.prompt + row.targets[0] for row in rows],
        "labels": [[-100] * len(row.prompt) + row.targets[0] for row in rows],
    }
    trainer = _Sft(
        model=begin.model,
        args=SFTConfig(
            **loop.arguments(context, layout, micro_batches(config, layout.world)),
            train_sampling_strategy="sequential",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(data),
        processing_class=begin.tokenizer,
        peft_config=adapters.config(begin.model, config.lora),
    )
    lengths = [row.length for row in rows]
    epochs = min(config.stop_epochs or config.epochs, config.epochs)
    taken = order(lengths, epochs, config.batch_size, config.seed)
    schedule = steps(len(rows), config.epochs, config.batch_size)
    trainer.adapt(context, begin, layout, taken=taken, schedule=schedule, measuring=measuring)
    loop.run(trainer)
    return loop.output(trainer, loop.row_counts(trainer, rows, taken))


class _Sft(Adapter, SFTTrainer):
    """TRL's SFT with the adapter."""
