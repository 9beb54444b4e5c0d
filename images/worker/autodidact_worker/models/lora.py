"""LoRA: low-rank adapters on all linear layers, trained instead of the weights, merged at the end.

Source: arXiv 2106.09685. Departure: the paper adapts attention only. The output embedding has no
adapter; the head of a classifier, which starts at random, is trained whole. An adapter adds nothing
at first, so the model with adapters starts as the very model without them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers.pytorch_utils import Conv1D

from autodidact_contract.base import Lora
from autodidact_worker.runtime.errors import UserError

_ADAPTER = "default"
"""peft's name of the one adapter a model has."""

_PREFIX = "base_model.model."
"""What peft puts before the name of every weight."""


def config(model: Any, lora: Lora | None) -> LoraConfig | None:
    """Returns peft's settings for a model, None where all weights are trained.

    Raises:
        UserError: ``LoraNotApplicable``: the model has no linear layers, or the rank is larger
            than a side of one, where an adapter would have more weights than the layer.
    """
    if lora is None:
        return None
    classifies = model.get_output_embeddings() is None
    layers = _adapted(model)
    if not layers:
        raise UserError(
            "LoraNotApplicable",
            f"{type(model).__name__} has no linear layers for lora to adapt; turn lora off or "
            "choose another model",
        )
    name, side = min(layers.items(), key=lambda item: item[1])
    if lora.rank > side:
        raise UserError(
            "LoraNotApplicable",
            f"lora.rank is {lora.rank}, but layer {name} is only {side} wide; lower it to {side} "
            "or less, or turn lora off",
        )
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft only divides it by the rank
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type=TaskType.SEQ_CLS if classifies else TaskType.CAUSAL_LM,
    )


def wrap(model: Any, lora: Lora | None) -> Any:
    """Returns the model with adapters and all else frozen; without ``lora`` the model as it is.

    The adapters' first weights come from torch's generator: seed it before.

    Raises:
        UserError: See ``config``.
    """
    settings = config(model, lora)
    if settings is None:
        return model
    # Adapters of another type than the weights are what DeepSpeed cannot gather.
    return get_peft_model(model, settings, autocast_adapter_dtype=False)


def plain(model: Any) -> Any:
    """Returns the model as transformers has it, its adapters in force inside it.

    It is what generates: peft's own model would leave its generation settings behind in it.
    """
    return model.get_base_model() if isinstance(model, PeftModel) else model


def merged(model: Any) -> Any:
    """Returns the model with its adapters added to its weights, and without them.

    The model must be whole, and is changed; see ``merged_weights`` for one that is not.
    """
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def merged_weights(model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns what ``merged`` would have as its weights, computed beside the model.

    Args:
        model: With or without adapters; only its structure is read, so its weights may be
            elsewhere, as under ZeRO-3.
        weights: All of them by name, as ``state_dict`` names them.
    """
    if not isinstance(model, PeftModel):
        return dict(weights)
    found = {}
    for name, weight in weights.items():
        if ".lora_" in name or ".original_module." in name:
            continue
        ours = name.removeprefix(_PREFIX).replace(f".modules_to_save.{_ADAPTER}.", ".")
        layer, adapted, parameter = name.partition(".base_layer.")
        if adapted and parameter == "weight":
            weight = weight + _delta(model.get_submodule(layer), layer, weights)  # noqa: PLW2901
        found[ours.replace(".base_layer.", ".")] = weight
    return found


def trainable_parameters(model: Any) -> int:
    """Returns how many numbers are trained, also where ZeRO-3 has taken the weights apart."""
    trained = (weight for weight in model.parameters() if weight.requires_grad)
    return sum(getattr(weight, "ds_numel", weight.numel()) for weight in trained)


def _delta(module: Any, layer: str, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The update of a layer: scaling B A, in the shape of its weight."""
    a, b = (weights[f"{layer}.lora_{side}.{_ADAPTER}.weight"] for side in "AB")
    delta: torch.Tensor = (b @ a) * module.scaling[_ADAPTER]
    return delta.T if module.fan_in_fan_out else delta


def _adapted(model: Any) -> dict[str, int]:
    """The shorter side of each layer that gets an adapter, by its name."""
    # The head of a classifier is a linear layer at the top of the model, as the output embedding
    # of a language model is.
    return {
        name: min(getattr(module.weight, "ds_shape", module.weight.shape))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and "." in name
    }
