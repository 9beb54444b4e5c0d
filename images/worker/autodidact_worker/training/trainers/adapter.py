"""Adapts a library's trainer: our schedule, our checkpoints, measurements, no telemetry."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from autodidact_contract.stages.training import Training
from autodidact_worker.models import lora
from autodidact_worker.runtime.checkpoints import Checkpoints, Timer
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context
from autodidact_worker.training import distributed, health, state
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.schedule import learning_rate
from autodidact_worker.training.start import Start
from autodidact_worker.training.trainers.measuring import Measuring

log = logging.getLogger(__name__)

RANDOM = "random-"
"""How the name of a rank's generator states in a checkpoint begins; every rank has one."""

_UNREAD = ("training_args.bin", "rng_state*.pth", "*.py")
"""What transformers and DeepSpeed put into a checkpoint and we never read: pickles and code."""


class Adapter:
    """What all trainers get; comes before TRL's or transformers' class.

    Attributes:
        LOGGED: Which of the trainer's own figures are kept beside those of all trainers, in this
            order, and what we call them; none of them is a time.
        ours: The stage.
        begin: What the training starts from.
        layout: On what it runs.
        saved: Where checkpoints go; None without a store.
        measuring: Measures the model on the way, if that is wanted.
        schedule: Steps of the whole schedule.
        round_steps: Steps that belong together; checkpoints and measurements lie between rounds.
        trained: Numbers that are trained.
        ended: Whether the training is over before its last step, for its result is reached.
        stopped: Whether it was asked to stop, and has.
    """

    LOGGED: ClassVar[Mapping[str, str]] = {}
    ours: Context[Training]
    begin: Start
    layout: Layout
    saved: Checkpoints | None = None
    measuring: Measuring | None = None
    schedule: int
    trained: int
    lr_scheduler: Any
    round_steps = 1
    ended = False
    stopped = False

    def adapt(
        self: Any,
        context: Context[Training],
        begin: Start,
        layout: Layout,
        *,
        taken: Sequence[int],
        schedule: int,
        measuring: Measuring | None = None,
    ) -> None:
        """Ties the trainer to the stage it works for.

        Args:
            context: The stage.
            begin: What the training starts from.
            layout: On what it runs.
            taken: The rows of the data in the order of training. Only now: what is computed once
                a row (reference log-probabilities) is not computed once an epoch.
            schedule: Steps of the whole schedule of the learning rate.
            measuring: Measures the model on the way.
        """
        self.ours, self.begin, self.layout = context, begin, layout
        self.schedule, self.measuring = schedule, measuring
        self.trained = lora.trainable_parameters(self.model)
        self.train_dataset = self.train_dataset.select(taken)
        self.saved = state.checkpoints_of(context)
        self.pop_callback(PrinterCallback)
        self.add_callback(_Watch(self))

    def graded(self) -> dict[str, int]:
        """Returns what this rank counted of answers, earlier attempts included."""
        return self.measuring.yardstick.counts() if self.measuring else {}

    def save_progress(self, folder: Path) -> None:
        """Writes what a resumed training needs besides weights and states to a folder."""
        if self.measuring is not None:
            self.measuring.save(folder, self.layout)

    def load_progress(self, folder: Path) -> None:
        """Takes up what ``save_progress`` wrote."""
        if self.measuring is not None:
            self.measuring.load(folder, self.layout)

    def end(self: Any) -> None:
        """Ends the training after this step, because its result is good enough.

        There is no checkpoint here any more: one that is found later would train on.
        """
        self.ended = True
        self.control.should_training_stop = True
        self.control.should_save = False

    def stop(self: Any) -> None:
        """Saves and stops after this step; a measurement that is due is made by the next attempt."""
        self.stopped = True
        self.control.should_evaluate = False
        self.control.should_save = not self.ended  # see ``end``
        self.control.should_training_stop = True

    def owes(self: Any) -> bool:
        """Returns whether the model as it is now is to be measured, and has not been."""
        step, measuring = self.state.global_step, self.measuring
        if measuring is None or measuring.step == step or step % self.round_steps:
            return False
        last = step == self.state.max_steps
        return not step or measuring.yardstick.is_due(step // self.round_steps, last=last)

    def _evaluate(self: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Measures as we do, where transformers would: after logging a step, before saving it."""
        self.control.should_evaluate = False  # or the end of the epoch would do it again
        try:
            self.measuring.measure(self, self.layout)
        except StoppedError:
            self.stop()
        else:
            if self.measuring.yardstick.enough:
                self.end()
        return {}

    def _send_telemetry(self) -> None:
        """TRL reports each trainer to Hugging Face; a worker reports to its operator only."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Rows are tokens already."""
        return dataset

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
        """Makes our schedule, which may be longer than the training; see ``learning_rate``."""
        if self.lr_scheduler is None:
            config = self.ours.config
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: learning_rate(config, step, self.schedule) / config.learning_rate,
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
        if self.layout.deepspeed != "none":
            transformers.Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001
            for pattern in _UNREAD:
                for path in folder.glob(pattern):
                    path.unlink()
        elif self.layout.rank == 0:
            state.save_state(folder, self.model, self.optimizer, self.lr_scheduler)
            self.state.save_to_json(str(folder / "trainer_state.json"))
        # Dropout differs by rank, and so does the state of its generator.
        (folder / f"{RANDOM}{self.layout.rank}.json").write_text(json.dumps(state.random_state()))
        self.save_progress(folder)
        parts = self.saved.upload(step, folder)
        everyone = distributed.gathered(parts, self.layout)
        if self.layout.rank == 0:
            self.saved.mark(step, everyone)
        shutil.rmtree(folder)

    def _load_from_checkpoint(self: Any, folder: str, model: Any = None) -> None:
        state.load_model(Path(folder), model or self.model)

    def _load_optimizer_and_scheduler(self: Any, folder: str | None) -> None:
        if self.layout.deepspeed != "none":
            super()._load_optimizer_and_scheduler(folder)  # type: ignore[misc]
        elif folder:
            state.load_optimizer(Path(folder), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self: Any, folder: str | None) -> None:
        if folder:
            path = Path(folder) / f"{RANDOM}{self.layout.rank}.json"
            state.restore_random(json.loads(path.read_text()))


class NothingToDo(Exception):  # noqa: N818 - it is no error
    """The model is good enough before the next step; transformers would make one."""


class _Watch(TrainerCallback):
    """Reports each step, stops at a bad one, and decides when to save and when to stop."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._context: Context[Training] = trainer.ours
        self._timer = Timer()

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - transformers names them
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **rest: Any,  # noqa: ARG002
    ) -> None:
        """Compares what trains with what was asked, and measures what it starts from, or owes."""
        trainer = self._trainer
        distributed.check_engine(trainer, trainer.layout)
        if trainer.owes():
            trainer.measuring.measure(trainer, trainer.layout)
            if trainer.measuring.yardstick.enough:
                trainer.end()
                raise NothingToDo

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - transformers names them
        state: TrainerState,
        control: TrainerControl,
        **rest: Any,  # noqa: ARG002
    ) -> None:
        """Lets all ranks save, and stop, after the same step."""
        trainer, step = self._trainer, state.global_step
        if step % trainer.round_steps:
            return
        last = step == state.max_steps
        control.should_evaluate = trainer.owes()
        stopping = self._context.stopping()
        stop, save = distributed.agreed(stopping, self._timer.over, trainer.layout)
        if stop and not last:
            trainer.stop()
        elif save and not last:
            control.should_save = True
            self._timer.restart()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - transformers names them
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **rest: Any,
    ) -> None:
        """Reports, and refuses to go on with a loss that is no number."""
        logs: dict[str, Any] = rest["logs"]
        if "loss" not in logs:
            return
        step, rate = state.global_step, logs["learning_rate"]
        health.check_step(
            *(step, state.max_steps), loss=logs["loss"], norm=logs.get("grad_norm"), rate=rate
        )
        self._context.progress(step, state.max_steps, loss=logs["loss"], learningRate=rate)
