"""The root of every schema, and the one way to turn a value into a digest."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "autodidact.dev"
"""API group of every resource; also the prefix of every label."""

VERSION = "v1alpha1"
"""The only served version of the API."""

SELF_REWARDING = "arXiv 2401.10020"
"""Yuan et al., Self-Rewarding Language Models."""

REFT = "arXiv 2401.08967"
"""Luong et al., ReFT: Reasoning with Reinforced Fine-Tuning."""


class Schema(BaseModel):
    """A frozen value that refuses unknown fields; camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def dump(self) -> dict[str, Any]:
        """Returns the value as plain JSON types under its outside names."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def doc(default: Any, text: str, source: str = "", **limits: Any) -> Any:
    """A field whose description says what it is, its default and where the default comes from.

    Args:
        default: The default, or ``...`` for a required field.
        text: What the field means, with its unit and what it interacts with.
        source: Paper and section of the default, or why it was chosen where no paper says.
        **limits: pydantic constraints (``ge``, ``le``, ``max_length``, ...).
    """
    parts = [text]
    if default is not ... and default is not None and not isinstance(default, Schema):
        shown = json.dumps(default) if not callable(default) else ""
        if shown:
            parts.append(f"Default: {shown}.")
    if source:
        parts.append(f"Source: {source}.")
    return Field(default, description=" ".join(parts), **limits)


def canonical_json(value: Any) -> bytes:
    """Returns the one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Returns the sha256 of a value's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


class Lora(Schema):
    """Low-rank adapters on all linear layers, merged into the weights when a stage ends."""

    rank: int = doc(16, "Rank of the update of each matrix.", "arXiv 2106.09685", ge=1, le=1024)
    alpha: float = doc(
        32.0, "The update is scaled by alpha / rank.", "arXiv 2106.09685", gt=0, le=4096
    )
    dropout: float = doc(
        0.0, "Dropout on the input of the adapters; PPO and GRPO want 0.", ge=0, lt=1
    )
