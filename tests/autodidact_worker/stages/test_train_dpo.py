import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from autodidact_contract.base import Lora
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.stages import train_dpo, train_sft
from support.training_rows import (
    PAIRS,
    Run,
    equal,
    weights,
)


def test_pairs_of_judgements_are_mixed_with_those_of_replies(run_trainer: Run) -> None:
    """They are learned as pairs are; what does not fit is left out and counted."""
    judgements = [
        PAIRS[0].model_copy(update={"prompt": "a" * length, "prompt_id": f"j{length}"})
        for length in (20, 60, 56)
    ]
    # A pair needs its prompt, its longer reply, which has two characters here, and the end token.
    settings = {"pairs": PAIRS, "batch_size": 5, "max_length": 60}
    out, output = run_trainer(train_dpo, **settings, **{"judge-pairs": judgements})
    counts = output.counts
    assert (counts["rows"], counts["judge-pairs"], counts["judge-pairs-too-long"]) == (14, 2, 1)
    assert counts["truncated"] == 0
    alone, plain = run_trainer(train_dpo, **settings)
    assert plain.counts["rows"] == 12
    assert "judge-pairs" not in plain.counts
    assert not equal(out, alone)
    none, _ = run_trainer(train_dpo, **settings, **{"judge-pairs": []})
    assert equal(none, alone)


def test_no_pairs_end_the_run(run_trainer: Run) -> None:
    """Nothing to learn from is the user's to solve, and is said so."""
    with pytest.raises(UserError, match="no preference pair") as caught:
        run_trainer(train_dpo, pairs=[])
    assert caught.value.reason == "NoPairs"


@pytest.mark.parametrize("kind", [train_sft, train_dpo])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_are_trained_and_merged(
    run_trainer: Run, llama: Path, tmp_path: Path, kind: Any, dtype: torch.dtype
) -> None:
    """Linear layers change, all else does not; the result is as plain and small as the start."""
    model = loading._load(llama).model.to(dtype)
    model.config.dtype = dtype
    shutil.copytree(llama, tmp_path / "start")
    model.save_pretrained(tmp_path / "start")
    given = {"pairs": PAIRS} if kind is train_dpo else {}
    out, output = run_trainer(
        kind, model=tmp_path / "start", lora=Lora(rank=4), learning_rate=1e-2, **given
    )
    before, after = weights(tmp_path / "start"), weights(out)
    assert set(before) == set(after)
    assert {weight.dtype for weight in after.values()} == {dtype}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    # Four numbers a side: four projections of 32 to 32, three of 32 and 64.
    assert output.counts["trainableParameters"] == 2 * 4 * (4 * 64 + 3 * 96)
    assert {path.name for path in out.iterdir()} == {
        path.name for path in [*llama.iterdir(), out / model_files.CURVE]
    }
