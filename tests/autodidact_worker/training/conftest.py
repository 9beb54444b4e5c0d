"""Fixtures of the tests of training by TRL."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.training import validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.trainers import grpo
from autodidact_worker.training.trainers.measuring import Measuring
from support.grpo_runs import RunGrpo


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has models measured as a script says, by the step they are measured at."""

    def write(**accuracies: float) -> None:
        def measure(_: Measuring, trainer: Any, *__: Any) -> Any:
            value = accuracies[f"step{trainer.state.global_step}"]
            return SimpleNamespace(value=value, cut=0)

        real = Measuring.measure

        def scripted(self: Measuring, trainer: Any, layout: Layout) -> float:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(validation, "measure", lambda *_: measure(self, trainer))
                return real(self, trainer, layout)

        monkeypatch.setattr(Measuring, "measure", scripted)

    return write


@pytest.fixture
def trainer(run_grpo: RunGrpo, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer as the stage makes it, before its first step, without gradient accumulation."""
    made: list[Any] = []

    def take(trainer: Any) -> None:
        made.append(trainer)
        raise StoppedError

    monkeypatch.setattr(grpo.run, "run", take)
    with pytest.raises(StoppedError):
        run_grpo()
    made[0].current_gradient_accumulation_steps = 1
    return made[0]
