"""Batches of rows for a model: how many go through it at once, and which ones together."""

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 1 << 16
"""Rows times longest row of a batch: about 20 GB of cache for a 70B model, all of a toy part."""


BATCH_LOGITS = 1 << 25
"""Rows times vocabulary of a batch: the noise is computed in int64, 256 MiB at this size."""


def by_length(lengths: Sequence[int], tokens: int | None = None) -> Iterator[list[int]]:
    """Yields batches of rows for one forward pass: similar lengths together, the longest first.

    Args:
        lengths: Tokens of each row.
        tokens: Rows times longest row of a batch at most, but always one row; None: BATCH_TOKENS.
    """
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(ordered):
        size = max(1, (tokens or BATCH_TOKENS) // lengths[ordered[start]])
        yield ordered[start : start + size]
        start += size
