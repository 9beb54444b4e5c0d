"""Training on two processes: every engine makes the steps of one process."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autodidact_worker.intake import model_files
from autodidact_worker.training.online import ppo
from support import offline_stages, online_stages, two_ranks

pytestmark = [
    pytest.mark.training,
    pytest.mark.thorough,
    pytest.mark.timeout(900),  # of which the trainings of all engines take most
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all trainings of two ranks, and of the same on one process."""
    folder = tmp_path_factory.mktemp("ranks")
    inputs = {"model": online_stages.write_model(folder / "model")}
    inputs |= online_stages.write_inputs(folder) | offline_stages.write_inputs(folder)
    for engine in two_ranks.ENGINES:
        (folder / f"store-{engine}").mkdir()
        start_two_ranks(folder, engine)
    for kind, config in two_ranks.TRAININGS.items():
        # The passes of two ranks together: some figures of TRL's are means over passes.
        alone = config(micro_batch_size=2 * config().micro_batch_size)
        two_ranks.train(alone, inputs, folder / f"{kind}-alone")
    return folder


def start_two_ranks(folder: Path, engine: str) -> None:
    """Trains everything with an engine."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "AUTODIDACT_WORLD_SIZE": "2",
        "AUTODIDACT_DEEPSPEED": engine,
        "DS_ACCELERATOR": "cpu",
    }
    done = subprocess.run(
        [sys.executable, *command, two_ranks.__file__, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def curve(folder: Path) -> list[dict[str, float]]:
    """The lines of a training."""
    return [
        json.loads(line) for line in (folder / "out" / model_files.CURVE).read_text().splitlines()
    ]


def distance(first: Path, second: Path) -> float:
    """How far two models' weights are apart; a head that only one of them has does not count."""
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    squares = (
        (one[name].double() - two[name].double()).square().sum() for name in one.keys() & two
    )
    return math.sqrt(sum(squares))


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
@pytest.mark.parametrize("kind", two_ranks.TRAININGS)
def test_engines_make_the_same_steps(trained: Path, kind: str, engine: str) -> None:
    """Losses, norms, rewards, accuracies and all else, step by step.

    Ranks and passes are added up in another order, which in float32 is another sum.
    """
    alone, found = curve(trained / f"{kind}-alone"), curve(trained / f"{kind}-{engine}")
    assert len(alone) == len(found)
    for line, wanted in zip(found, alone, strict=True):
        assert line == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
@pytest.mark.parametrize("kind", two_ranks.TRAININGS)
def test_engines_end_with_the_same_model(trained: Path, kind: str, engine: str) -> None:
    """Its files, and weights closer than a ten-thousandth of the way that training took them.

    Adam divides a gradient by its size, so where that is next to nothing rounding has a say.
    """
    alone, found = (trained / f"{kind}-{name}" / "out" for name in ("alone", engine))
    assert {path.name for path in alone.iterdir()} == {path.name for path in found.iterdir()}
    assert distance(alone, found) < 1e-4 * distance(trained / "model", alone)


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_checkpoints_meet_on_all_ranks(trained: Path, engine: str) -> None:
    """Each of the three meets the best one on every prompt, whichever rank it is answered on.

    That the second one is kept then is what one process does, with whose weights all agree.
    """
    lines = [line for line in curve(trained / f"chosen-{engine}") if "wins" in line]
    everything = len(online_stages.PROBLEMS)
    assert [line["wins"] for line in lines] == [everything, everything, 0]


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_what_trained_is_said(trained: Path, engine: str) -> None:
    """The output of every rank has the number of processes and the engine."""
    for folder in (f"ppo-{engine}", f"ppo-{engine}-1"):
        assert json.loads((trained / folder / two_ranks.SAID).read_text()) == [2, engine]


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_every_engine_resumes(trained: Path, engine: str) -> None:
    """Stopped after the first rollout and resumed, both ranks end with the very same bits."""
    undisturbed, resumed = (trained / f"{name}-{engine}" for name in ("ppo", "resumed"))
    assert not list((trained / f"stopped-{engine}" / "out").iterdir())
    assert curve(resumed) == curve(undisturbed)
    assert online_stages.digest(resumed / "out") == online_stages.digest(undisturbed / "out")


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_whitening_is_over_all_ranks(trained: Path, engine: str) -> None:
    """Two ranks with unequally many actions get what one has with all of them."""
    values, mask = online_stages.UNEVEN
    wanted = ppo.whiten(values, mask)
    for rank in range(2):
        found = torch.tensor(json.loads((trained / f"white-{engine}-{rank}.json").read_text()))
        assert torch.allclose(found, wanted[rank::2], atol=1e-6)
        assert not torch.allclose(found, ppo.whiten(values[rank::2], mask[rank::2]), atol=1e-2)
