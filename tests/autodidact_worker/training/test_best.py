from collections.abc import Callable
from pathlib import Path

import pytest

from autodidact_contract.base import Lora
from autodidact_store import open_store
from autodidact_worker.runtime.errors import StoppedError
from support.training_rows import (
    QUESTIONS,
    VALIDATION,
    Run,
    digest,
    equal,
)


def test_the_best_model_is_kept(run_trainer: Run, script: Callable[..., None]) -> None:
    """Of the accuracies 0.1, 0.5, 0.5, 0.4 the model of the second is the result."""
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION}
    script(step0=0.1, step1=0.5, step2=0.5, step3=0.4)
    best, output = run_trainer(epochs=3, **settings)
    ended = VALIDATION.model_copy(update={"until": 0.5, "keep": "last"})
    assert equal(best, run_trainer(epochs=3, **(settings | {"validation": ended}))[0])
    assert output.metrics["accuracy"].value == pytest.approx(0.5)
    assert (output.counts["keptStep"], output.counts["steps"]) == (1, 3)
    settings["validation"] = VALIDATION.model_copy(update={"keep": "last"})
    last, output = run_trainer(epochs=3, **settings)
    assert not equal(last, best)
    assert output.metrics["accuracy"].value == pytest.approx(0.4)
    assert output.counts["keptStep"] == 3


@pytest.mark.thorough
@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_the_best_model_survives_an_interruption(
    run_trainer: Run, tmp_path: Path, script: Callable[..., None], lora: Lora | None
) -> None:
    """Best after the first step, stopped after the second: the same result as undisturbed."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    script(step0=0.1, step1=0.5, step2=0.2, step3=0.4)
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION, "lora": lora}
    settings |= {"epochs": 3, "store": store}
    undisturbed = run_trainer(**settings)
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run_trainer(
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 1,
            **settings,
        )
    again = run_trainer(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert again[1].counts["keptStep"] == 1
