import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training import start
from autodidact_worker.training.distributed import Layout
from support import chain
from support.training_rows import (
    Run,
)


def test_a_loss_that_is_no_number_ends_the_run(run_trainer: Run) -> None:
    """The sentence has step, rate and remedy, and nothing is written."""
    with pytest.raises(UserError, match=r"at step \d+ of .* lower learningRate") as caught:
        run_trainer(learning_rate=1e30, max_grad_norm=1e30, epochs=4)
    assert caught.value.reason == "NaNLoss"


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_dropout_is_what_was_asked(llama: Path, value: float) -> None:
    """Two passes in training differ with dropout and agree without; modules are counted."""
    begin = start.start(llama, chain.sft_config(dropout=value), Layout(gpu=False))
    begin.model.train()
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        first, second = begin.model(ids).logits, begin.model(ids).logits
    assert torch.equal(first, second) == (value == 0)
    assert begin.dropouts == (2 if value else 0)


def test_dropout_that_cannot_be_applied_is_refused(tmp_path: Path, llama: Path) -> None:
    """A Mamba has none: better no training than one without what was asked."""
    shape = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    MambaForCausalLM(MambaConfig(**shape)).save_pretrained(tmp_path / "mamba")
    for path in llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "mamba")
    layout = Layout(gpu=False)
    with pytest.raises(UserError, match="mamba has no dropout") as caught:
        start.start(tmp_path / "mamba", chain.sft_config(dropout=0.1), layout)
    assert caught.value.reason == "DropoutNotApplicable"
    assert start.start(tmp_path / "mamba", chain.sft_config(), layout).dropouts == 0


def test_every_dropout_of_gpt2_is_set(tmp_path: Path, llama: Path) -> None:
    """An architecture with its own defaults gets ours everywhere, also none at all."""
    config = GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    for path in llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "gpt2")
    with_it = start.start(tmp_path / "gpt2", chain.sft_config(dropout=0.2), Layout(gpu=False))
    # Embedding, attention probabilities, attention output, MLP output.
    assert with_it.dropouts == 4
    assert {m.p for m in with_it.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    without = start.start(tmp_path / "gpt2", chain.sft_config(), Layout(gpu=False))
    assert without.dropouts == 0
    assert without.limit == 64
