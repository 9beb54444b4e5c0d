import json
from pathlib import Path

import pytest

from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import StoppedError
from support import online_stages

pytestmark = pytest.mark.training


def test_a_stopped_training_goes_on(tmp_path: Path, online_model: Path) -> None:
    """Stopped after its first rollout and resumed, it ends with the bytes of an undisturbed one."""
    inputs = {"model": online_model, **online_stages.write_inputs(tmp_path / "inputs")}
    config = online_stages.st_config()
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    quiet = online_stages.run(config, inputs, tmp_path / "quiet")
    stop = online_stages.Stop()
    more = {"store": store, "stopping": stop.asked, "progress": stop.progress}
    with pytest.raises(StoppedError):
        online_stages.run(config, inputs, tmp_path / "first", **more)
    again = online_stages.run(config, inputs, tmp_path / "second", store=store)
    assert again == quiet
    digests = [online_stages.digest(tmp_path / name / "out") for name in ("quiet", "second")]
    assert digests[0] == digests[1]
    model_files.check(tmp_path / "quiet" / "out")


def test_it_learns_the_given_targets(tmp_path: Path, online_model: Path) -> None:
    """The loss falls to less than half in twenty passes over the questions."""
    inputs = {"model": online_model, **online_stages.write_inputs(tmp_path / "inputs")}
    config = online_stages.st_config(epochs=20, learning_rate=1e-2, schedule="constant")
    output = online_stages.run(config, inputs, tmp_path / "run")
    lines = (tmp_path / "run" / "out" / model_files.CURVE).read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
    assert losses[-1] < losses[0] / 2
    assert output.metrics["accuracy"].value is not None
    assert output.metrics["accuracy"].value >= 0.5
