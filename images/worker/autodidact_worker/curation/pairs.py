"""Preference pairs: best and worst reply to each prompt. Pure, and without torch.

Source: arXiv 2401.10020, section 2.3. Where several replies share the best or the worst score the
paper is silent; ``tie_break`` decides. What its followers added is off unless the config says so:

- **Length control** (``rho``, arXiv 2407.19594): of the replies whose scores are near the best one
  the shortest wins, of those near the worst one the longest loses.
- **Anchored loser** (``anchors``, arXiv 2508.06026): replies of M1 that score below all others
  compete for the loser.
- **Consistency** (``agreement``, arXiv 2410.12735): how far two models rank replies alike.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import pvariance
from typing import Literal

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import AnswerSample, Judged, Pair
from autodidact_contract.stages.data import BuildPairs

Drop = Literal["unscored", "truncated", "too-long", "tie", "gap", "identical"]
DROPS: tuple[Drop, ...] = ("unscored", "truncated", "too-long", "tie", "gap", "identical")
"""Why a prompt gives no pair, in the order of the checks."""

ANCHOR = "first-"
"""How the ids of M1's replies begin: M(t)'s replies have the same ones without it."""

_ROUNDING = 1e-9
"""By so much a mean of votes may miss the bound that it lies on."""

_Scored = tuple[Judged, float]


def pair(
    candidates: Sequence[Judged], config: BuildPairs, anchors: Sequence[Judged] = ()
) -> Pair | Drop:
    """Returns the preference pair of one prompt, or why there is none.

    Replies without a score, and by default those cut by length, do not compete. The gap must be at
    least ``min_score_gap`` and never zero; texts that differ only in surrounding white space are
    identical.

    With ``rho``, and the scores from ``low`` to ``high``, the shortest reply with at least
    (1 - rho) high + rho low wins and the longest one with at most (1 - rho) low + rho high loses,
    both bounds included; what is equally long goes to the seed. The gap is that of the two.

    Args:
        candidates: All replies to one prompt.
        config: Seed, tie break, gap, and who competes.
        anchors: Replies of M1 to the same prompt, scored by the same judge. They never win, and
            those that score less than every candidate may lose. ``low`` is then theirs.
    """
    competing = _competing(candidates, config, anchors)
    if isinstance(competing, str):
        return competing
    (chosen, high), (rejected, low) = _select(*competing, config)
    if high <= low:
        return "tie"
    if high - low < config.min_score_gap:
        return "gap"
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


def of_sample(sample: AnswerSample) -> Judged:
    """Returns an answer to a question as a judged reply: 1 where it is right, 0 where it is not.

    An answer that cannot be read is wrong (arXiv 2404.19733 section 2).
    """
    return Judged(
        id=sample.id,
        prompt_id=sample.question_id,
        prompt=sample.prompt,
        text=sample.text,
        finish=sample.finish,
        votes=(),
        score=float(sample.correct),
    )


def agreement(ours: Sequence[Judged], theirs: Sequence[Judged]) -> float | None:
    """Returns how far two judges rank the replies to one prompt alike: 0 reversed, 1 the same.

    It is (tau + 1) / 2 with Kendall's tau-b, over the replies that both have scored; None where tau
    is undefined, which is for fewer than two of them or where one judge scores them all the same.

    Source: arXiv 2410.12735 section 4.

    Args:
        ours: Replies with one judge's scores.
        theirs: The same replies with the other's, in any order.
    """
    from scipy.stats import kendalltau  # noqa: PLC0415 - plain pairs are built without numpy

    known = {row.id: score for row, score in _scored(theirs)}
    both = [(score, known[row.id]) for row, score in _scored(ours) if row.id in known]
    if any(len(set(scores)) < 2 for scores in zip(*both, strict=True)) or len(both) < 2:
        return None
    return (float(kendalltau(*zip(*both, strict=True)).statistic) + 1) / 2


class Pairs:
    """The pairs so far, and the counts and means of them."""

    def __init__(self, config: BuildPairs) -> None:
        self.counts: Counter[str] = Counter(prompts=0, pairs=0, anchored=0)
        self.counts["length-controlled"] = 0
        self.counts.update({f"dropped-{reason}": 0 for reason in DROPS})
        self._config = config
        self._plain = config.model_copy(update={"rho": None, "max_chosen_length": None})
        self._pairs: list[Pair] = []
        self._scores: list[float] = []
        self._agreements: list[float] = []

    def add(self, replies: Sequence[Judged], anchors: Sequence[Judged]) -> None:
        """Pairs the replies to one prompt."""
        self.counts["prompts"] += 1
        self._scores += [row.score for row in replies if row.score is not None]
        found = pair(replies, self._config, anchors)
        if not isinstance(found, Pair):
            self.counts[f"dropped-{found}"] += 1
            return
        self._pairs.append(found)
        self.counts["pairs"] += 1
        self.counts["anchored"] += found.rejected_id.startswith(ANCHOR)
        self.counts["length-controlled"] += found != pair(replies, self._plain, anchors)

    def compare(self, ours: Sequence[Judged], theirs: Sequence[Judged]) -> None:
        """Compares two models' scores of the replies to one prompt."""
        found = agreement(ours, theirs)
        self._agreements += [] if found is None else [found]
        self.counts["undefined-agreement"] += found is None

    def weighted(self) -> list[Pair]:
        """Returns the pairs with the consistency of all prompts."""
        share = _mean(self._agreements).value
        return [
            row.model_copy(update={"consistency": 1.0 if share is None else share})
            for row in self._pairs
        ]

    def metrics(self) -> dict[str, Mean]:
        """Returns the means."""
        kept = self._pairs
        found = {
            "gap": _mean([row.chosen_score - row.rejected_score for row in kept]),
            "chosenScore": _mean([row.chosen_score for row in kept]),
            "rejectedScore": _mean([row.rejected_score for row in kept]),
            "chosenLength": _mean([float(len(row.chosen)) for row in kept]),
            "rejectedLength": _mean([float(len(row.rejected)) for row in kept]),
            "score": _mean(self._scores),
        }
        if self._config.consistency:
            found["consistency"] = _mean(self._agreements)
        return found


def _mean(values: Sequence[float]) -> Mean:
    return Mean(total=sum(values), weight=float(len(values)))


def _competing(
    candidates: Sequence[Judged], config: BuildPairs, anchors: Sequence[Judged]
) -> tuple[list[_Scored], list[_Scored]] | Drop:
    """Returns who may win and who may lose, or why there is no competition."""
    ours = _scored(candidates)
    below = [(row, score) for row, score in _scored(anchors) if all(score < s for _, s in ours)]
    if not ours or len(ours) + len(below) < 2:
        return "unscored"
    if config.exclude_truncated:
        ours, below = _complete(ours), _complete(below)
        if not ours or len(ours) + len(below) < 2:
            return "truncated"
    limit = config.max_chosen_length
    winners = [(row, score) for row, score in ours if limit is None or len(row.text) <= limit]
    return (winners, ours + below) if winners else "too-long"


def _scored(replies: Sequence[Judged]) -> list[_Scored]:
    return [(row, row.score) for row in replies if row.score is not None]


def _complete(scored: Sequence[_Scored]) -> list[_Scored]:
    return [(row, score) for row, score in scored if row.finish == "stop"]


def _select(
    winners: Sequence[_Scored], losers: Sequence[_Scored], config: BuildPairs
) -> tuple[_Scored, _Scored]:
    """Returns winner and loser with their scores; they may be equal."""
    high = max(score for _, score in winners)
    low = min(score for _, score in losers)
    top, bottom = high, low
    if config.rho:
        top = (1 - config.rho) * high + config.rho * low - _ROUNDING
        bottom = (1 - config.rho) * low + config.rho * high + _ROUNDING
    return (
        _pick([(row, score) for row, score in winners if score >= top], config, best=True),
        _pick([(row, score) for row, score in losers if score <= bottom], config, best=False),
    )


def _pick(rows: Sequence[_Scored], config: BuildPairs, *, best: bool) -> _Scored:
    """Returns one of several replies of a tier; remaining ties go to the seed."""
    rank: Callable[[Judged], float]
    if config.rho or config.tie_break == "shortest":
        # Restrains length: the shortest of the best wins against the longest of the worst.
        rank = _length if best else lambda row: -_length(row)
    elif config.tie_break == "lowest-variance":
        rank = _variance
    else:
        rank = _equal
    return min(rows, key=lambda one: (rank(one[0]), _draw(config.seed, one[0].id, best=best)))


def _length(row: Judged) -> float:
    return len(row.text)


def _variance(row: Judged) -> float:
    """Variance of the votes; nothing differs where a reply was scored without any."""
    scores = [vote.score for vote in row.votes if vote.score is not None]
    return pvariance(scores) if scores else 0.0


def _equal(_: Judged) -> float:
    return 0.0


def _draw(seed: int, name: str, *, best: bool) -> bytes:
    return hashlib.sha256(f"{seed}/build-pairs/{name}/{best}".encode()).digest()
