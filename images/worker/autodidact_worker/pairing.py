"""Preference pairs: best and worst reply to each prompt. Pure, and without torch.

Source: arXiv 2401.10020, section 2.3. Where several replies share the best or the worst score the
paper is silent; ``tie_break`` decides.
"""

import hashlib
from collections.abc import Callable, Sequence
from statistics import pvariance
from typing import Literal

from autodidact_contract.records import Judged, Pair
from autodidact_contract.stages import BuildPairs

Drop = Literal["unscored", "truncated", "tie", "gap", "identical"]
DROPS: tuple[Drop, ...] = ("unscored", "truncated", "tie", "gap", "identical")
"""Why a prompt gives no pair, in the order of the checks."""


def pair(candidates: Sequence[Judged], config: BuildPairs) -> Pair | Drop:
    """Returns the preference pair of one prompt, or why there is none.

    Replies without a score, and by default those cut by length, do not compete. The gap must be at
    least ``min_score_gap`` and never zero; texts that differ only in surrounding white space are
    identical.

    Args:
        candidates: All replies to one prompt.
        config: Seed, tie break, gap, and whether replies cut by length compete.
    """
    scored = [(row, row.score) for row in candidates if row.score is not None]
    if len(scored) < 2:
        return "unscored"
    if config.exclude_truncated:
        scored = [(row, score) for row, score in scored if row.finish == "stop"]
        if len(scored) < 2:
            return "truncated"
    high = max(score for _, score in scored)
    low = min(score for _, score in scored)
    if high == low:
        return "tie"
    if high - low < config.min_score_gap:
        return "gap"
    chosen = _pick([row for row, score in scored if score == high], config, best=True)
    rejected = _pick([row for row, score in scored if score == low], config, best=False)
    if chosen.text.strip() == rejected.text.strip():
        return "identical"
    return Pair(
        prompt_id=chosen.prompt_id,
        prompt=chosen.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_id=chosen.id,
        rejected_id=rejected.id,
        chosen_score=high,
        rejected_score=low,
    )


def _pick(rows: Sequence[Judged], config: BuildPairs, *, best: bool) -> Judged:
    """Returns one of several replies with the same score; remaining ties go to the seed."""
    rank: Callable[[Judged], float]
    if config.tie_break == "shortest":
        # Restrains length: the shortest of the best wins against the longest of the worst.
        rank = _length if best else lambda row: -_length(row)
    elif config.tie_break == "lowest-variance":
        rank = _variance
    else:
        rank = _equal
    return min(rows, key=lambda row: (rank(row), _draw(config.seed, row.id, best=best)))


def _length(row: Judged) -> float:
    return len(row.text)


def _variance(row: Judged) -> float:
    return pvariance([vote.score for vote in row.votes if vote.score is not None])


def _equal(_: Judged) -> float:
    return 0.0


def _draw(seed: int, name: str, *, best: bool) -> bytes:
    return hashlib.sha256(f"{seed}/build-pairs/{name}/{best}".encode()).digest()
