import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import StoppedError
from support.training_rows import (
    Run,
)


def test_the_trainer_uses_our_rates(run_trainer: Run) -> None:
    """What the optimiser had at each of six steps is what the schedule says."""
    out, output = run_trainer(
        learning_rate=1e-3, final_learning_rate=1e-4, schedule="linear", batch_size=4
    )
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    wanted = [1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4]
    assert [line["learningRate"] for line in lines] == pytest.approx(wanted)
    assert output.counts["steps"] == 5


def test_dropout_is_not_left_in_the_result(run_trainer: Run, llama: Path) -> None:
    """The written config has the dropout of the model that was given."""
    out, output = run_trainer(dropout=0.2)
    assert output.counts["dropoutModules"] == 2
    name = "attention_dropout"
    assert json.loads((out / "config.json").read_text())[name] == 0.0
    assert json.loads((llama / "config.json").read_text())[name] == 0.0


def test_stopping_without_a_store_says_so(run_trainer: Run) -> None:
    """Run by hand there is nowhere to save."""
    with pytest.raises(StoppedError, match="lost, for there is no store"):
        run_trainer(stopping=lambda: True)


def test_nothing_is_unpickled(run_trainer: Run, tmp_path: Path) -> None:
    """Neither training nor resuming looks up a class for a pickle, which is how one runs code."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    found: list[Any] = []
    watching = [True]

    def hook(event: str, arguments: Any) -> None:
        if watching and event == "pickle.find_class":
            found.append(arguments)

    sys.addaudithook(hook)  # for good: it can only be told to look away
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run_trainer(
            store=store,
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 2,
        )
    run_trainer(store=store)
    watching.clear()
    assert found == []
