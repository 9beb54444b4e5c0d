"""How likely a model finds replies that are there already."""

from collections.abc import Sequence
from typing import Any

import torch

from autodidact_contract.records import Response
from autodidact_worker.models import loading
from autodidact_worker.models.batches import BATCH_LOGITS, BATCH_TOKENS, by_length
from autodidact_worker.models.policy import Policy, collate

Tokens = tuple[list[int], list[int]]
"""A prompt's and a reply's."""


def encode(tokenizer: Any, reply: Response) -> Tokens:
    """Returns a reply behind its prompt as training sees them; one that was cut has no end token.

    Args:
        tokenizer: Of the model.
        reply: Its text is encoded again, which need not give the very tokens that were sampled.
    """
    text = reply.text
    if reply.finish == "stop":
        text = loading.completion_text(tokenizer, text)
    answer: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return loading.prompt_ids(tokenizer, reply.prompt), answer


@torch.inference_mode()
def log_probs(model: Any, replies: Sequence[Tokens], pad: int) -> list[float]:
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
