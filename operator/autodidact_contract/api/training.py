"""What every training stage of every recipe lets the user set."""

from collections.abc import Callable
from typing import Any, Literal

from autodidact_contract.api.rules import Rule
from autodidact_contract.base import Schema, doc


class TrainingFields(Schema):
    """The optimiser, its schedule and the size of a step; the recipes have the defaults."""

    epochs: float = doc(..., "Passes over the rows.", gt=0, le=10000)
    learning_rate: float = doc(..., "Learning rate at its highest.", gt=0, le=1)
    final_learning_rate: float = doc(..., "Learning rate at the last step.", ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = doc(
        ..., "How the learning rate falls; constant ignores finalLearningRate."
    )
    warmup_steps: int = doc(
        0, "Steps in which the learning rate rises from 0.", "neither paper", ge=0, le=1000000
    )
    warmup_ratio: float = doc(
        0.0,
        "Share of all steps in which the learning rate rises; counts where warmupSteps is 0.",
        "as transformers has it",
        ge=0,
        le=1,
    )
    batch_size: int = doc(..., "Rows per optimiser step, over all processes.", "", ge=1, le=65536)
    micro_batch_size: int | None = doc(
        None,
        "Rows per process and forward pass; gradients are accumulated up to batchSize. Unset: "
        "batchSize divided by the processes.",
        ge=1,
    )
    max_length: int = doc(
        ..., "Tokens per row; longer rows are cut and counted.", "", ge=8, le=1048576
    )
    dropout: float = doc(
        ...,
        "Dropout while training. A model that has no place for it is refused unless this is 0; "
        "how many modules it changed is recorded.",
        "",
        ge=0,
        lt=1,
    )
    weight_decay: float = doc(
        0.0, "Decoupled weight decay of AdamW.", "arXiv 2401.08967 appendix B", ge=0, le=1
    )
    max_grad_norm: float = doc(
        1.0, "Gradients are clipped to this norm.", "arXiv 2401.08967 appendix B", gt=0
    )


def falls(part: str, fields: Callable[[Any], TrainingFields]) -> Rule[Any]:
    """Returns the rule that a learning rate does not end above where it began.

    Args:
        part: Name of the training in the manifest.
        fields: Takes a spec; returns its fields of that training.
    """
    return Rule(
        message=f"{part}.finalLearningRate must not be above {part}.learningRate",
        cel=f"self.{part}.finalLearningRate <= self.{part}.learningRate",
        holds=lambda spec: fields(spec).final_learning_rate <= fields(spec).learning_rate,
    )
