from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError
from support import online_stages
from support.ppo_runs import RunPpo, curve
from support.tiny import write_gpt2

pytestmark = pytest.mark.training


def test_a_training_writes_a_model_and_its_curve(run_ppo: RunPpo, ppo_model: Path) -> None:
    """Twelve steps in three rollouts; a line each; the result is a model without a value head."""
    out, output = run_ppo()
    assert {**output.counts, "tokens": 0} == {
        "rows": 12,
        "rollouts": 3,
        "steps": 12,
        "answers": 24,
        "tokens": 0,
        "trainableParameters": output.counts["trainableParameters"],
        "keptStep": 3,
        "sandbox-missing": 0,
        **{k: v for k, v in output.counts.items() if k.startswith("read-")},
    }
    assert sum(v for k, v in output.counts.items() if k.startswith("read-")) == 24
    model_files.check(out)
    names = {path.name for path in ppo_model.iterdir()}
    assert {path.name for path in out.iterdir()} == names | {model_files.CURVE}
    before, after = (load_file(path / "model.safetensors") for path in (ppo_model, out))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert all(after[name].dtype == before[name].dtype for name in before)
    lines = curve(out)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line["learningRate"] for line in lines] == pytest.approx(
        [3e-3 - 2.7e-3 * step / 11 for step in (3, 7, 11)]
    )
    assert output.metrics["lastKl"].value == lines[-1]["kl"]


def test_lora_trains_adapters_and_merges_them(run_ppo: RunPpo, ppo_model: Path) -> None:
    """The start without adapters is the reference; the result is a plain model that moved."""
    out, output = run_ppo(lora=online_stages.LORA)
    assert curve(out)[0]["kl"] == 0
    before, after = (load_file(path / "model.safetensors") for path in (ppo_model, out))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "_proj" in name}
    assert output.counts["trainableParameters"] < sum(w.numel() for w in before.values())


def test_the_same_seed_makes_the_same_bytes(run_ppo: RunPpo) -> None:
    """And another seed other ones."""
    digests = [online_stages.digest(run_ppo(seed=seed, epochs=1)[0]) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.1}, {"lora": online_stages.LORA.model_copy(update={"dropout": 0.1})}]
)
def test_dropout_is_refused(run_ppo: RunPpo, settings: dict[str, Any], tmp_path: Path) -> None:
    """It would be off anyway; what was asked for is not ignored."""
    gpt2 = write_gpt2(tmp_path / "gpt2")  # which has a place for it
    with pytest.raises(UserError, match="set both to 0") as caught:
        run_ppo(model=gpt2, **settings)
    assert caught.value.reason == "DropoutNotApplicable"
