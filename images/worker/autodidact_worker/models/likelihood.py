"""Computes how likely a model finds replies that exist already."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from autodidact_worker.models.batches import BATCH_LOGITS, BATCH_TOKENS, by_length
from autodidact_worker.models.loading import Tokens
from autodidact_worker.models.policy import Policy, collate


@torch.inference_mode()
def log_probs(model: PreTrainedModel, replies: Sequence[Tokens], pad: int) -> list[float]:
    """Returns the sum of the log-probabilities of each reply's tokens, given its prompt.

    Args:
        model: In evaluation mode.
        replies: Tokens, none of them empty. They are batched by length: the same replies in one
            call give the same sums.
        pad: Any token of the vocabulary.
    """
    policy = Policy(model)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    lengths = [len(prompt) + len(reply) for prompt, reply in replies]
    found = [0.0] * len(replies)
    for rows in by_length(lengths, min(BATCH_TOKENS, BATCH_LOGITS // vocabulary)):
        batch = collate([replies[row] for row in rows], pad, model.device)
        sums = (policy(batch) * batch.mask).sum(1)  # (B,)
        for row, value in zip(rows, sums.tolist(), strict=True):
            found[row] = value
    return found
