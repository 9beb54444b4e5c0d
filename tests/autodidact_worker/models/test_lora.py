"""LoRA: what is adapted, that the rest stays as it was, and that merging is exact."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from autodidact_contract.base import Lora
from autodidact_worker.models import lora
from autodidact_worker.runtime.errors import UserError
from support.tiny import write_gpt2

LORA = Lora(rank=4, alpha=8)
IDS = torch.arange(4, 24).reshape(2, 10)


def causal(folder: Path) -> Any:
    """A language model."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def classifier(folder: Path) -> Any:
    """A model of two classes."""
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, num_labels=2
    ).eval()


def wrapped(model: Any) -> Any:
    """The model with adapters that have learned something."""
    torch.manual_seed(0)
    made = lora.wrap(model, LORA)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    return made


def logits(model: Any) -> torch.Tensor:
    """What the model says about fixed tokens."""
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.fixture(params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, llama: Path, tmp_path: Path) -> Path:
    """Models whose layers are torch's, and transposed ones of transformers' own."""
    return llama if request.param == "llama" else write_gpt2(tmp_path / "gpt2")


@pytest.mark.parametrize("load", [causal, classifier])
def test_adapters_add_nothing_at_first(folder: Path, load: Any) -> None:
    """With fresh adapters the model says what it said, bit for bit."""
    before = logits(load(folder))
    assert torch.equal(logits(lora.wrap(load(folder), LORA)), before)


def test_every_linear_layer_but_the_output_is_adapted(llama: Path) -> None:
    """Seven layers a block have adapters; two matrices of each are all that is trained."""
    model = lora.wrap(causal(llama), LORA)
    layers = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert len(layers) == 2 * 7
    assert not any("lm_head" in name for name in layers)
    # Rank 4: four projections of 32 to 32, two of 32 to 64, one of 64 to 32.
    assert lora.trainable_parameters(model) == 2 * 4 * (4 * 64 + 3 * 96)


def test_a_classifier_s_head_is_trained_whole(llama: Path) -> None:
    """It starts at random: two rows of 32 numbers beside the adapters."""
    model = lora.wrap(classifier(llama), LORA)
    assert lora.trainable_parameters(model) == 2 * 4 * (4 * 64 + 3 * 96) + 2 * 32


@pytest.mark.parametrize("load", [causal, classifier])
def test_merging_keeps_what_the_model_says(folder: Path, load: Any) -> None:
    """The merged model is of the first kind again and agrees with the adapted one."""
    model = wrapped(load(folder))
    said = logits(model)
    merged = lora.merged(model)
    assert type(merged) is type(load(folder))
    assert set(merged.state_dict()) == set(load(folder).state_dict())
    assert torch.allclose(logits(merged), said, atol=1e-5)
    assert not torch.allclose(said, logits(load(folder)), atol=1e-3)


@pytest.mark.parametrize("load", [causal, classifier])
def test_weights_merge_beside_the_model_too(folder: Path, load: Any) -> None:
    """Computed from names and numbers alone they are the merged model's, bit for bit."""
    model = wrapped(load(folder))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = lora.merged_weights(model, weights)
    wanted = lora.merged(model).state_dict()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_model_without_adapters_is_left_alone(llama: Path) -> None:
    """No lora: the very same model and the very same weights."""
    model = causal(llama)
    assert lora.wrap(model, None) is model
    assert lora.plain(model) is model
    assert lora.merged(model) is model
    weights = model.state_dict()
    found = lora.merged_weights(model, weights)
    assert all(found[name] is weights[name] for name in weights)


def test_the_plain_model_has_its_adapters_in_force(llama: Path) -> None:
    """It is transformers' own class and says what the adapted one says."""
    model = wrapped(causal(llama))
    assert type(lora.plain(model)) is type(causal(llama))
    assert torch.equal(logits(lora.plain(model)), logits(model))


def test_a_rank_larger_than_a_layer_is_refused(llama: Path) -> None:
    """The sentence has rank, layer, its size and the remedy."""
    with pytest.raises(UserError, match=r"lora.rank is 33, but layer \S+ is only 32 wide") as found:
        lora.wrap(causal(llama), Lora(rank=33))
    assert found.value.reason == "LoraNotApplicable"
    lora.wrap(causal(llama), Lora(rank=32))


class _Table(PreTrainedModel):  # type: ignore[misc]
    """A language model that is a table."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.table = torch.nn.Embedding(4, 4)


def test_a_model_without_linear_layers_is_refused() -> None:
    """There would be nothing to train."""
    with pytest.raises(UserError, match="_Table has no linear layers") as found:
        lora.wrap(_Table(PretrainedConfig()), LORA)
    assert found.value.reason == "LoraNotApplicable"
