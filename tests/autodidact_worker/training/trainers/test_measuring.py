from collections.abc import Callable
from pathlib import Path

import pytest

from autodidact_store import open_store
from autodidact_worker.runtime.errors import StoppedError
from support.online_stages import Stop
from support.training_rows import (
    QUESTIONS,
    VALIDATION,
    Run,
    digest,
    equal,
    figures,
)


def test_a_model_that_is_good_already_is_not_trained(
    run_trainer: Run, llama: Path, script: Callable[..., None]
) -> None:
    """Enough before the first step: the result is the model that was given."""
    script(step0=0.5)
    enough = VALIDATION.model_copy(update={"until": 0.5, "keep": "last"})
    out, output = run_trainer(questions=QUESTIONS, validation=enough)
    assert equal(out, llama)
    assert output.counts["steps"] == output.counts["keptStep"] == 0
    assert figures(out, "accuracy") == [(0, 0.5)]


@pytest.mark.parametrize(("look", "step"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_a_stop_in_a_measurement_is_seen_at_once(
    run_trainer: Run, tmp_path: Path, look: int, step: int
) -> None:
    """It saves the step that was to be measured; the next attempt measures it first.

    After the first step it looks in its measurement, at the end of the next step, which spares the
    measurement, and so on.
    """
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION}
    settings |= {"epochs": 3, "store": store}
    undisturbed = run_trainer(**settings)
    stop = Stop(look)
    with pytest.raises(StoppedError, match=f"after step {step} of 3; .* is saved"):
        run_trainer(progress=stop.progress, stopping=stop.asked, **settings)
    again = run_trainer(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert [at for at, _ in figures(again[0], "accuracy")] == [0, 1, 2, 3]
