import json
from pathlib import Path
from typing import Any

import pytest

from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import StoppedError
from support import online_stages
from support.online_stages import Stop
from support.ppo_runs import Killed, RunPpo, scripted

pytestmark = [pytest.mark.training, pytest.mark.thorough]


@pytest.mark.parametrize(
    "settings",
    [{}, {"value_network": "separate", "value_warmup_steps": 1}, {"lora": online_stages.LORA}],
)
def test_a_kill_at_any_step_changes_no_bit(
    run_ppo: RunPpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Killed after each of the optimiser steps and resumed, the artifact is the undisturbed one.

    The best model is that of the second rollout; it survives the kills as well.
    """
    scripted(monkeypatch, 1, 2, 5, 3)
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    fields = {"validation": {"every_epochs": 0.1, "keep": "best"}, "epochs": 2, **settings}
    undisturbed = run_ppo(**fields)
    assert undisturbed[1].counts["keptStep"] == 2
    steps = undisturbed[1].counts["steps"]
    assert steps == 12
    for last in range(1, steps + 1) if not settings else (1, 5, 6, 12):
        folder = tmp_path / f"store-{last}"
        folder.mkdir()
        store = open_store(str(folder))

        def progress(step: int, *_: int, last: int = last, **__: float) -> None:
            if step == last:
                raise Killed

        with pytest.raises(Killed):
            run_ppo(store=store, progress=progress, **fields)
        seen: list[int] = []
        again = run_ppo(
            store=store, progress=lambda step, *_, s=seen, **__: s.append(step), **fields
        )
        assert seen[0] == (last - 1) // 4 * 4 + 1  # a rollout has four steps
        assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
        assert again[1] == undisturbed[1]


def test_a_stopped_training_goes_on(run_ppo: RunPpo, tmp_path: Path) -> None:
    """Asked to stop, it ends its rollout and saves; the next attempt ends with the same bytes."""
    undisturbed = run_ppo()
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    stop = Stop()
    with pytest.raises(StoppedError, match="after rollout 1 of 3; what was learned is saved"):
        run_ppo(store=store, stopping=stop.asked, progress=stop.progress)
    again = run_ppo(store=store)
    assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
    assert again[1] == undisturbed[1]


def test_stopping_without_a_store_says_so(run_ppo: RunPpo) -> None:
    """Run by hand there is nowhere to save."""
    stop = Stop()
    with pytest.raises(StoppedError, match="lost, for there is no store"):
        run_ppo(stopping=stop.asked, progress=stop.progress)


def test_a_stop_is_seen_before_anything_is_learned(run_ppo: RunPpo, tmp_path: Path) -> None:
    """The first look is in the first measurement; there is nothing to save."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(StoppedError, match="after rollout 0 of 3"):
        run_ppo(
            store=store, stopping=lambda: True, progress=lambda *_, **__: pytest.fail("learned")
        )
    assert not list(store.entries("team/checkpoints/"))


def test_a_stop_at_any_look_changes_no_bit(run_ppo: RunPpo, tmp_path: Path) -> None:
    """While it samples and while it measures too: what was learned is saved at once.

    From the first step on it looks at the end of a rollout, before and after it samples, in the
    second measurement, at the end, before and after it samples, and in the last measurement.
    """
    fields = {"validation": {"every_epochs": 1.0, "keep": "best"}}
    undisturbed = run_ppo(**fields)
    for look, rollout in ((2, 1), (3, 1), (4, 2), (8, 3)):
        folder = tmp_path / f"store-{look}"
        folder.mkdir()
        store, stop = open_store(str(folder)), Stop(look)
        with pytest.raises(StoppedError, match=f"after rollout {rollout} of 3; .* is saved"):
            run_ppo(store=store, stopping=stop.asked, progress=stop.progress, **fields)
        again = run_ppo(store=store, **fields)
        assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
        assert again[1] == undisturbed[1]


def test_a_measurement_that_a_stop_prevented_is_made_up_for(
    run_ppo: RunPpo, tmp_path: Path
) -> None:
    """Resumed where one is due, it measures before it goes on; the curve has each once."""
    (tmp_path / "store").mkdir()
    store, stop = open_store(str(tmp_path / "store")), Stop(4)
    with pytest.raises(StoppedError, match="after rollout 2 of 3"):
        run_ppo(store=store, stopping=stop.asked, progress=stop.progress)
    out, _ = run_ppo(store=store)
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert [line["step"] for line in lines if "accuracy" in line] == [0, 2, 3]
