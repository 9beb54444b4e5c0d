"""Saves an online training as checkpoints, and takes it up again from them.

They lie between rollouts. The engine writes its own files; beside them are the state, as JSON, and
the trained weights of the best model so far.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field, replace

from autodidact_contract.stages.base import StageConfig
from autodidact_worker.runtime.checkpoints import Checkpoints, Timer
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context
from autodidact_worker.training import distributed
from autodidact_worker.training import state as state_files
from autodidact_worker.training.best import BEST
from autodidact_worker.training.engines import Engine

log = logging.getLogger(__name__)

_STATE = "online.json"


@dataclass
class State:
    """What a checkpoint has besides the engine's own files and the best model.

    Attributes:
        world: Number of processes.
        engine: ``Layout.deepspeed``, under the name that it has in checkpoints.
        rollouts: Finished ones.
        steps: Optimiser steps taken.
        lines: The curve: one line a rollout and one a measurement.
        measured: Rollouts done and accuracy, of each measurement.
        answers: Sampled answers.
        tokens: Of these.
        graded: What the graders of all ranks counted.
        rewarded: Whether any reward was above 0.
        ended: Whether any answer ended by itself.
        seconds: Wall time by phase.
    """

    world: int
    engine: str
    rollouts: int = 0
    steps: int = 0
    lines: list[dict[str, float]] = field(default_factory=list)
    measured: list[tuple[int, float]] = field(default_factory=list)
    answers: int = 0
    tokens: int = 0
    graded: dict[str, int] = field(default_factory=dict)
    rewarded: bool = False
    ended: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


class Keeper:
    """Saves an online training and takes it up again; every rank has one.

    Attributes:
        saved: Where checkpoints go; None without a store.
        best: Where the trained weights of the best model are, on rank 0.
    """

    def __init__(self, context: Context[StageConfig], engine: Engine) -> None:
        """Looks for no checkpoint yet; without a store nothing is saved.

        Args:
            context: The stage.
            engine: What trains.
        """
        self.saved = state_files.checkpoints_of(context)
        self._scratch, self._engine, self._layout = context.scratch, engine, engine.layout
        self._timer = Timer()
        self._last = 0  # rollouts of the last checkpoint
        self.best = context.scratch / BEST

    @property
    def due(self) -> bool:
        """Whether the next checkpoint is due."""
        return self._timer.over

    def save(self, state: State) -> None:
        """Saves what was learned since the last checkpoint, if anything was; every rank calls it.

        A measurement alone is made again: the files of a complete checkpoint are never replaced.
        """
        if self.saved is None or state.rollouts == self._last:
            return
        folder = self._scratch / "checkpoint"
        folder.mkdir()
        self._engine.save(folder)
        if self._layout.rank == 0:
            (folder / _STATE).write_text(json.dumps(asdict(state)))
            if self.best.exists():
                (folder / BEST).hardlink_to(self.best)
        parts = distributed.gathered(self.saved.upload(state.rollouts, folder), self._layout)
        if self._layout.rank == 0:
            self.saved.mark(state.rollouts, parts)
        shutil.rmtree(folder)
        self._last = state.rollouts
        self._timer.restart()

    def resumed(self) -> State:
        """Returns the state of the latest checkpoint, which the engine is in then, or a fresh one.

        Raises:
            UserError: ``WrongWorldSize``: it is one of other processes.
        """
        fresh = State(world=self._layout.world, engine=self._layout.deepspeed)
        marker = self.saved.latest() if self.saved else None
        if self.saved is None or marker is None:
            return fresh
        folder = self._scratch / "resume"
        self.saved.download(marker, folder)
        state = State(**json.loads((folder / _STATE).read_text()))
        state.measured = [(step, accuracy) for step, accuracy in state.measured]
        check_world(state, fresh, self.saved)
        self._engine.load(folder)
        if (folder / BEST).exists():
            (folder / BEST).rename(self.best)
        if self._layout.rank == 0:
            self.saved.prune(marker.step)  # what an attempt left that was killed while it removed
        shutil.rmtree(folder)
        log.info("resume rollout=%d step=%d", state.rollouts, state.steps)
        self._last = state.rollouts
        return replace(state, world=fresh.world, engine=fresh.engine)


def check_world(state: State, now: State, saved: Checkpoints) -> None:
    """Raises where a checkpoint cannot be read by these processes; plain ones always can."""
    if state.engine == now.engine == "none" or (state.engine, state.world) == (
        now.engine,
        now.world,
    ):
        return
    raise UserError(
        "WrongWorldSize",
        f"the checkpoint of rollout {state.rollouts} was made by {state.world} processes with "
        f"engine {state.engine}, and {now.world} with engine {now.engine} are to go on from it; "
        f"give the stage what it had, or delete {saved.prefix} to train from the start",
    )
