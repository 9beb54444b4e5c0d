"""The reranker: a classifier on an answer's last token says how likely the answer is right.

Source: arXiv 2401.08967 section 4.3. Rows are padded on the right, which moves no position and is
not looked at: what comes after the last token cannot change it in a causal model. A tokenizer
without a padding token pads with the end token; the last token is then the one before the end.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from autodidact_contract.records import AnswerSample
from autodidact_worker.models import loading
from autodidact_worker.models.batches import by_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LABELS = {0: "wrong", 1: "correct"}
"""The classes, by the number of their logit."""


class Encoded(NamedTuple):
    """A prompt and an answer to it as one sequence; ``cut`` if it lost its end."""

    ids: list[int]
    cut: bool


def encode(tokenizer: "PreTrainedTokenizerBase", sample: AnswerSample, limit: int) -> Encoded:
    """Returns a sampled answer behind its prompt, as the model wrote it: cut ones have no end.

    Args:
        tokenizer: Of the classifier.
        sample: Prompt and text.
        limit: Tokens at most; what is more is cut off at the end.
    """
    prompt, answer = loading.encode(tokenizer, sample)
    ids = prompt + answer
    return Encoded(ids[:limit], len(ids) > limit)


def collate(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Returns sequences as a batch: ``input_ids`` and ``attention_mask``, ``(B, T)`` int64."""
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


@torch.inference_mode()
def probabilities(model: "PreTrainedModel", rows: Sequence[Sequence[int]], pad: int) -> list[float]:
    """Returns how likely each sequence is correct, in (0, 1).

    Args:
        model: A classifier with ``LABELS``, in evaluation mode.
        rows: Tokens of each; they are batched by length.
        pad: The model's own padding token: by it the model finds each row's last token.
    """
    found = [0.0] * len(rows)
    for batch in by_length([len(row) for row in rows]):
        given = collate([rows[row] for row in batch], pad)
        logits = model(**{name: ids.to(model.device) for name, ids in given.items()}).logits
        for row, value in zip(batch, logits.float().softmax(-1)[:, 1].tolist(), strict=True):
            found[row] = value
    return found
