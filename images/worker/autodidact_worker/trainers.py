"""TRL's SFT and DPO trainers behind an adapter that keeps what they would lose.

- **Learning rate**: down to a final value that is not zero, as the papers have it.
- **Checkpoints**: of our own format, uploaded, with nothing pickled (see ``checkpoints``). Under
  DeepSpeed its engine writes them, which does pickle; they are read back from our prefix only,
  after their digests were checked.
- **Dropout**: TRL switches it off for DPO; here it stays as ``training.start`` set it.
- **Figures**: of every step, so that a resumed training has the same curve.

It leaves out adapters (LoRA), evaluation during training and early stopping.
"""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from autodidact_contract.artifacts import Mean
from autodidact_contract.stages import TrainDpo, Training, TrainSft
from autodidact_worker import checkpoints, distributed, safety
from autodidact_worker.checkpoints import Checkpoints
from autodidact_worker.distributed import Layout
from autodidact_worker.errors import StoppedError, UserError
from autodidact_worker.frame import Context, Output
from autodidact_worker.training import Row, Start, learning_rate, micro_batches, order

log = logging.getLogger(__name__)

WINDOW = 0.1
"""Share of the steps, from the end, over which the reported loss is a mean."""

LOGGED = {
    "loss": "loss",
    "grad_norm": "gradNorm",
    "learning_rate": "learningRate",
    "mean_token_accuracy": "tokenAccuracy",
    "rewards/margins": "rewardsMargin",
    "rewards/accuracies": "rewardsAccuracy",
    "rewards/chosen": "rewardsChosen",
    "rewards/rejected": "rewardsRejected",
}
"""What is kept of the trainer's figures, under our names; none of them is a time."""

REPORTED = ("loss", "tokenAccuracy", "rewardsMargin", "rewardsAccuracy")


def sft(context: Context, begin: Start, rows: list[Row], layout: Layout) -> Output:
    """Trains on the targets of the rows, end token included, and writes the model.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``.
    """
    config: TrainSft = context.config
    arguments = SFTConfig(
        **_arguments(context, config, layout),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    data = {
        "input_ids": [row.prompt + row.targets[0] for row in rows],
        "labels": [[-100] * len(row.prompt) + row.targets[0] for row in rows],
    }
    return _train(_Sft, arguments, data, context, begin, rows, layout)


def dpo(context: Context, begin: Start, rows: list[Row], layout: Layout) -> Output:
    """Trains on pairs of targets against the starting model and writes the model.

    Source: arXiv 2305.18290 equation 7; with ``nll_coefficient`` the mean over the batch's chosen
    tokens of their negative log-likelihood is added.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss``.
    """
    config: TrainDpo = context.config
    nll = config.nll_coefficient
    arguments = DPOConfig(
        **_arguments(context, config, layout),
        max_length=None,
        beta=config.beta,
        loss_type=["sigmoid", "sft"] if nll else ["sigmoid"],
        loss_weights=[1.0, nll] if nll else [1.0],
        disable_dropout=False,
        precompute_ref_log_probs=True,
    )
    data = {
        "prompt_ids": [row.prompt for row in rows],
        "chosen_ids": [row.targets[0] for row in rows],
        "rejected_ids": [row.targets[1] for row in rows],
    }
    return _train(_Dpo, arguments, data, context, begin, rows, layout)


def _arguments(context: Context, config: Training, layout: Layout) -> dict[str, Any]:
    micro, accumulation = micro_batches(config, layout.world)
    return {
        "output_dir": str(context.scratch / "trainer"),
        "seed": config.seed,
        "learning_rate": config.learning_rate,
        "num_train_epochs": 1,  # the order of rows has them all
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "sequential",
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not layout.gpu,
        "bf16": layout.gpu,
        "gradient_checkpointing": layout.gpu,
        "dataloader_pin_memory": layout.gpu,
        "deepspeed": distributed.deepspeed_config(layout),
    }


def _train(
    kind: Callable[..., Any],
    arguments: Any,
    data: dict[str, list[Any]],
    context: Context,
    begin: Start,
    rows: list[Row],
    layout: Layout,
) -> Output:
    config: Training = context.config
    taken = order([row.length for row in rows], config.epochs, config.batch_size, config.seed)
    trainer = kind(
        model=begin.model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(data),
        processing_class=begin.tokenizer,
    )
    # Only now: what is computed once a row (reference log-probabilities) is not computed per epoch.
    trainer.train_dataset = trainer.train_dataset.select(taken)
    trainer.adapt(context, layout)
    found = _resume(trainer.saved, context.scratch, layout)
    trainer.train(resume_from_checkpoint=found)
    if trainer.state.global_step < trainer.state.max_steps:
        kept = "saved" if trainer.saved else "lost, for there is no store"
        raise StoppedError(
            f"stopped by SIGTERM after step {trainer.state.global_step} of "
            f"{trainer.state.max_steps}; what was learned is {kept}"
        )
    _save(trainer, context.out, begin, layout)
    return _output(_history(trainer), rows, taken, begin)


def _resume(saved: Checkpoints | None, scratch: Path, layout: Layout) -> str | None:
    marker = saved.latest() if saved else None
    if saved is None or marker is None:
        return None
    folder = scratch / "resume"
    saved.download(marker, folder)
    if layout.rank == 0:
        saved.prune(marker.step)  # what an attempt left that was killed while it removed
    log.info("resume step=%d", marker.step)
    return str(folder)


def _save(trainer: Any, out: Path, begin: Start, layout: Layout) -> None:
    """Writes the model as Hugging Face does, and its curve; refuses to write anything else."""
    weights = None
    if layout.engine != "none":
        weights = trainer.accelerator.get_state_dict(trainer.deepspeed)
    if layout.rank:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    for name, value in begin.kept.items():
        setattr(model.config, name, value)
    if weights is None:
        # What came in 16 bits goes out in 16 bits.
        model.to(begin.dtype)
        model.config.dtype = begin.dtype
    model.save_pretrained(out, state_dict=weights)
    begin.tokenizer.save_pretrained(out)
    lines = [json.dumps(line) for line in _history(trainer)]
    (out / safety.CURVE).write_text("".join(f"{line}\n" for line in lines))
    safety.check(out)


def _history(trainer: Any) -> list[dict[str, float]]:
    return [
        {
            "step": line["step"],
            **{ours: line[name] for name, ours in LOGGED.items() if name in line},
        }
        for line in trainer.state.log_history
        if "loss" in line
    ]


def _output(
    history: list[dict[str, float]], rows: list[Row], taken: list[int], begin: Start
) -> Output:
    last = history[-max(1, round(WINDOW * len(history))) :]
    return Output(
        counts={
            "rows": len(rows),
            "steps": len(history),
            "tokens": sum(rows[row].tokens for row in taken),
            "truncated": sum(row.truncated for row in rows),
            "dropoutModules": begin.dropouts,
        },
        metrics={
            name: Mean(total=sum(line[name] for line in last), weight=len(last))
            for name in REPORTED
            if name in last[-1]
        },
    )


_UNREAD = ("training_args.bin", "rng_state*.pth", "*.py")
"""What transformers and DeepSpeed put into a checkpoint and we never read: pickles and code."""


class _Adapter:
    """What both trainers get: our schedule, our checkpoints, and no calls home."""

    ours: Context
    layout: Layout
    saved: Checkpoints | None = None

    def adapt(self: Any, context: Context, layout: Layout) -> None:
        """Ties the trainer to the stage it works for."""
        self.ours, self.layout = context, layout
        if context.store is not None:
            kind = context.config.stage
            self.saved = Checkpoints.of(context.store, context.namespace, kind, context.key)
        self.pop_callback(PrinterCallback)
        self.add_callback(_Watch(self))

    def _send_telemetry(self) -> None:
        """TRL reports each trainer to Hugging Face; a worker reports to its operator only."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Rows are tokens already."""
        return dataset

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        """Makes our schedule; see ``learning_rate``."""
        if self.lr_scheduler is None:
            config = self.ours.config
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: learning_rate(config, step, num_training_steps) / config.learning_rate,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """Writes a checkpoint and uploads it; the marker comes last and from rank 0."""
        if self.saved is None:
            return
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        if self.layout.engine != "none":
            transformers.Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001
            for pattern in _UNREAD:
                for path in folder.glob(pattern):
                    path.unlink()
        elif self.layout.rank == 0:
            checkpoints.save_state(folder, self.model, self.optimizer, self.lr_scheduler)
            self.state.save_to_json(str(folder / "trainer_state.json"))
        # Dropout differs by rank, and so does the state of its generator.
        (folder / f"random-{self.layout.rank}.json").write_text(
            json.dumps(checkpoints.random_state())
        )
        parts = self.saved.upload(step, folder)
        everyone = distributed.gathered(parts, self.layout)
        if self.layout.rank == 0:
            self.saved.mark(step, everyone)
        shutil.rmtree(folder)

    def _load_from_checkpoint(self: Any, folder: str, model: Any = None) -> None:
        checkpoints.load_model(Path(folder), model or self.model)

    def _load_optimizer_and_scheduler(self: Any, folder: str | None) -> None:
        if self.layout.engine != "none":
            super()._load_optimizer_and_scheduler(folder)  # type: ignore[misc]
        elif folder:
            checkpoints.load_optimizer(Path(folder), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self: Any, folder: str | None) -> None:
        if folder:
            path = Path(folder) / f"random-{self.layout.rank}.json"
            checkpoints.restore_random(json.loads(path.read_text()))


class _Sft(_Adapter, SFTTrainer):
    """TRL's SFT with the adapter."""


class _Dpo(_Adapter, DPOTrainer):
    """TRL's DPO with the adapter, and reference log-probabilities in memory.

    TRL keeps them in a cache file that rank 0 writes and all others open, which needs a disk that
    all nodes share.
    """

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        from torch.utils.data import DataLoader  # noqa: PLC0415
        from trl.models import prepare_deepspeed  # noqa: PLC0415

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
        log.info("reference log-probabilities of %d pairs (%s)", len(columns[0]), name)
        dataset = dataset.add_column("ref_chosen_logps", columns[0])
        return dataset.add_column("ref_rejected_logps", columns[1])


class _Watch(TrainerCallback):
    """Reports each step, stops at a bad one, and decides when to save and when to stop."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._context: Context = trainer.ours
        self._interval_s = float(os.environ.get("AUTODIDACT_CHECKPOINT_SECONDS", "600"))
        self._saved_at = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Compares what trains with what was asked."""
        distributed.check_engine(self._trainer, self._trainer.layout)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Lets all ranks save, and stop, after the same step."""
        due = time.monotonic() - self._saved_at >= self._interval_s
        stop, save = distributed.agreed(self._context.stopping(), due, self._trainer.layout)
        if state.global_step < state.max_steps and (stop or save):
            control.should_save = True
            control.should_training_stop = stop
            self._saved_at = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:  # noqa: ARG002
        """Reports, and refuses to go on with a loss that is no number."""
        logs: dict[str, Any] = rest["logs"]
        if "loss" not in logs:
            return
        step, rate = state.global_step, logs["learning_rate"]
        if not all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "grad_norm")):
            raise UserError(
                "NaNLoss",
                f"the loss is {logs['loss']} and the gradient norm {logs.get('grad_norm')} at step "
                f"{step} of {state.max_steps} with learning rate {rate:.3g}; lower learningRate, "
                "raise warmupSteps or lower maxGradNorm",
            )
        self._context.progress(step, state.max_steps, loss=logs["loss"], learningRate=rate)
