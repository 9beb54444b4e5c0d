"""Small trainings by PPO: what one runs, and how it is interrupted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.intake import model_files
from autodidact_worker.runtime.frame import Output
from autodidact_worker.training import validation
from autodidact_worker.training.online import loop
from autodidact_worker.training.validation import Accuracy

RunPpo = Callable[..., tuple[Path, Output]]


def curve(out: Path) -> list[dict[str, float]]:
    """The lines of rollouts."""
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [line for line in lines if "loss" in line]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker can catch it."""


def scripted(monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    """Makes the measurements have these numbers of right answers of six, by rollouts done."""
    done = [0]
    original = loop.Loop.measure

    def noted(self: loop.Loop, examiner: Any) -> bool:
        done[0] = self.rollouts
        return original(self, examiner)

    def measure(*_: Any) -> Accuracy:
        return Accuracy(correct=values[done[0]], asked=6, cut=0)

    monkeypatch.setattr(loop.Loop, "measure", noted)
    monkeypatch.setattr(validation, "measure", measure)
