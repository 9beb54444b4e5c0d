from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.models import loading
from autodidact_worker.training import validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.validation import Measurements
from support import online_stages

pytestmark = pytest.mark.training


def test_measurements_are_due_at_epochs() -> None:
    """Before the first step, at each multiple of the interval, and at the end."""
    config = online_stages.ppo_config(validation={"every_epochs": 1.0}).validation
    due = [validation.is_due(config, step, 2.5, last=step == 9) for step in range(10)]
    assert [step for step, yes in enumerate(due) if yes] == [0, 3, 5, 8, 9]


def test_measurements_know_the_best() -> None:
    """The earlier of equals; enough is enough even if an earlier one was better."""
    best = online_stages.ppo_config(validation={"keep": "best", "until": 0.7}).validation
    found = Measurements(best)
    assert found.best is None
    assert [found.add(*pair) for pair in ((0, 0.5), (1, 0.6), (2, 0.6), (3, 0.4))] == [
        *(True, True, False, False)
    ]
    assert found.result == (1, 0.6)
    assert not found.enough
    found.add(4, 0.7)
    assert found.enough
    last = Measurements(best.model_copy(update={"keep": "last"}), [(0, 0.5)])
    assert not last.add(1, 0.4)
    assert last.result == (1, 0.4)


def test_accuracy_is_measured_by_greedy_decoding(ppo_model: Path) -> None:
    """By hand for a model that always writes the same, on one process and on two."""
    loaded = loading.load(ppo_model)
    config = online_stages.ppo_config(validation={"questions": 8}).validation
    grader: Any = _Recorder()
    found = validation.measure(*loaded, online_stages.PROBLEMS, config, grader, Layout(gpu=False))
    assert len(grader.items) == found.asked == 8
    assert [p.id for p, _ in grader.items] == [p.id for p in online_stages.PROBLEMS[:8]]
    assert found.value == found.correct / 8 == 3 / 8
    again: Any = _Recorder()
    validation.measure(*loaded, online_stages.PROBLEMS, config, again, Layout(gpu=False))
    assert again.items == grader.items


class _Recorder:
    """A grader that likes the first three answers."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def grade(self, items: list[Any]) -> list[Any]:
        from autodidact_worker.answers.grading import Grade  # noqa: PLC0415

        self.items += items
        return [Grade(value="1", reason="ok", correct=i < 3) for i in range(len(items))]
