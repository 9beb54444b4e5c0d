"""Runs a training by a library's trainer: resumes, trains, writes the model, returns figures."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autodidact_contract.stages.training import Training
from autodidact_worker.answers import grading
from autodidact_worker.models import lora
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, schedule, start, state
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.start import Row
from autodidact_worker.training.trainers.adapter import RANDOM, NothingToDo

log = logging.getLogger(__name__)


LOGGED = {"loss": "loss", "grad_norm": "gradNorm", "learning_rate": "learningRate"}
"""What is kept of the figures of every trainer, under our names."""

REPORTED = (
    "loss",
    "tokenAccuracy",
    "rewardsMargin",
    "rewardsAccuracy",
    "reward",
    "sampledAccuracy",
    "truncation",
    "unread",
    "clipFraction",
)


def arguments(context: Context[Training], layout: Layout, micro: tuple[int, int]) -> dict[str, Any]:
    """Returns the arguments that all trainers share.

    Args:
        context: The stage.
        layout: On what it runs.
        micro: Rows in a forward pass of one process, and passes that make a step.
    """
    config = context.config
    return {
        "output_dir": str(context.scratch / "trainer"),
        "seed": config.seed,
        "learning_rate": config.learning_rate,
        "num_train_epochs": 1,  # the order of rows has them all
        "per_device_train_batch_size": micro[0],
        "gradient_accumulation_steps": micro[1],
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


def run(trainer: Any) -> None:
    """Trains an adapted trainer, maybe from a checkpoint, and writes the model.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NaNLoss`` or ``WrongWorldSize``.
    """
    folder = _resume(trainer)
    try:
        trainer.train(resume_from_checkpoint=folder)
    except NothingToDo:
        log.info("the model is good enough before the next step")
    if trainer.stopped:
        where = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
        raise state.stopped(where, trainer.saved)
    if trainer.measuring is not None:
        trainer.measuring.restore(trainer, trainer.layout)
    _save(trainer)


def output(trainer: Any, counts: Mapping[str, int]) -> Output:
    """Returns what a finished training measured.

    Args:
        trainer: After ``run``.
        counts: What was counted of its data; what all trainings count is added.
    """
    history = history_of(trainer)
    metrics = schedule.closing_means(history, REPORTED)
    found = {
        **counts,
        "steps": len(history),
        "dropoutModules": trainer.begin.dropouts,
        "trainableParameters": trainer.trained,
    }
    if trainer.measuring is not None:
        counted, measured = trainer.measuring.yardstick.figures()
        graded: dict[str, int] = {}
        for theirs in distributed.everyone(trainer.graded(), trainer.layout):
            graded = grading.added(graded, theirs)
        found |= counted | graded
        metrics |= measured
    return Output(
        counts=found,
        metrics=metrics,
        world_size=trainer.layout.world,
        deepspeed=trainer.layout.deepspeed,
    )


def row_counts(trainer: Any, rows: Sequence[Row], taken: Sequence[int]) -> dict[str, int]:
    """Returns what is counted of fixed rows.

    Args:
        trainer: After ``run``.
        rows: What was trained on.
        taken: The rows in the order of training; maybe not all of them were reached.
    """
    used = taken[: trainer.state.global_step * trainer.ours.config.batch_size]
    return {
        "rows": len(rows),
        "tokens": sum(rows[row].tokens for row in used),
        "truncated": sum(row.cut for row in rows),
    }


def history_of(trainer: Any) -> list[dict[str, float]]:
    """Returns the figures of every step, those of earlier attempts included."""
    names = {**LOGGED, **trainer.LOGGED}
    return [
        {
            "step": line["step"],
            **{ours: line[name] for name, ours in names.items() if name in line},
        }
        for line in trainer.state.log_history
        if "loss" in line
    ]


def _resume(trainer: Any) -> str | None:
    saved, layout = trainer.saved, trainer.layout
    marker = saved.latest() if saved else None
    if marker is None:
        return None
    world = sum(part.path.startswith(RANDOM) for part in marker.files)
    if world != layout.world:
        raise UserError(
            "WrongWorldSize",
            f"the checkpoint of step {marker.step} was made by {world} processes, and "
            f"{layout.world} are to go on from it; give the stage {world} again, or delete "
            f"{saved.prefix} to train from the start",
        )
    folder: Path = trainer.ours.scratch / "resume"
    saved.download(marker, folder)
    trainer.load_progress(folder)
    if layout.rank == 0:
        saved.prune(marker.step)  # what an attempt left that was killed while it removed
    log.info("resume step=%d", marker.step)
    return str(folder)


def _save(trainer: Any) -> None:
    begin, layout, weights = trainer.begin, trainer.layout, None
    if layout.deepspeed != "none":
        weights = trainer.accelerator.get_state_dict(trainer.deepspeed)
    if layout.rank:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if weights is None:
        model = lora.merged(model)
    else:
        weights = lora.merged_weights(model, weights)
        model = lora.plain(model)
    start.write(trainer.ours.out, model, begin, _curve(trainer), weights)


def _curve(trainer: Any) -> list[dict[str, float]]:
    """Returns the figures of every step; a measurement follows the step after which it was made."""
    measured = trainer.measuring.yardstick.lines() if trainer.measuring else []
    return sorted([*history_of(trainer), *measured], key=lambda line: line["step"])
