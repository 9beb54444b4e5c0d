from pathlib import Path
from typing import Any

import pytest

from autodidact_store import open_store
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.training.online import saved
from support import online_stages
from support.online_stages import Stop
from support.ppo_runs import Killed, RunPpo

pytestmark = pytest.mark.training


def test_the_split_of_time_survives_a_stop(run_ppo: RunPpo, tmp_path: Path) -> None:
    """Each phase has the seconds of all attempts, in the output and so in the manifest."""
    (tmp_path / "store").mkdir()
    store, stop = open_store(str(tmp_path / "store")), Stop()
    with pytest.raises(StoppedError):
        run_ppo(store=store, stopping=stop.asked, progress=stop.progress)
    told: list[dict[str, float]] = []
    _, output = run_ppo(store=store, progress=lambda *_, **found: told.append(found))
    assert set(output.seconds) == {"sampling", "reward", "learning", "validation"}
    kept = told[0]  # within the first learning of this attempt
    assert 0 < kept["learningSeconds"] < output.seconds["learning"]


def test_half_a_checkpoint_is_none(
    run_ppo: RunPpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it uploads the second one, it goes on from the first."""
    undisturbed = run_ppo()
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    original = Checkpoints.mark

    def mark(self: Checkpoints, step: int, parts: Any) -> None:
        if step == 2:
            raise Killed
        original(self, step, parts)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "mark", mark)
        with pytest.raises(Killed):
            run_ppo(store=store)
    keys = [entry.key for entry in store.entries("team/checkpoints/")]
    assert any("/000000002/model.safetensors" in key for key in keys)
    seen: list[int] = []
    again = run_ppo(store=store, progress=lambda step, *_, **__: seen.append(step))
    assert seen[0] == 5
    assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        (("none", 2), ("none", 1), False),
        (("zero2", 2), ("zero2", 2), False),
        (("zero2", 2), ("zero2", 1), True),
        (("zero3", 2), ("zero2", 2), True),
        (("none", 1), ("zero2", 1), True),
    ],
)
def test_a_checkpoint_of_other_processes(
    before: tuple[str, int], now: tuple[str, int], refused: bool
) -> None:
    """Plain ones fit any number of processes; DeepSpeed's only as many as wrote them."""
    states = [saved.State(engine=engine, world=world) for engine, world in (before, now)]
    place = Checkpoints(store=None, prefix="team/checkpoints/train-ppo-0a1b/")
    if not refused:
        saved.check_world(*states, place)
        return
    with pytest.raises(UserError, match="delete team/checkpoints/train-ppo-0a1b/") as caught:
        saved.check_world(*states, place)
    assert caught.value.reason == "WrongWorldSize"
