"""Measures how well a judge agrees with people, and how often a model beats another. Pure.

Source: arXiv 2401.10020, section 3.2 and table 4 (pairwise accuracy, exact match, 5-best, Spearman,
Kendall). What the paper leaves open: a tie of the judge is a miss in pairwise accuracy and exact
match, Kendall is tau-b, prompts with constant scores leave the correlations, and replies that
people ranked equal form no pair. Replies without a score leave their pairs, and their prompt leaves
exact match and the correlations; how many did is counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from scipy.stats import kendalltau, spearmanr

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Battle, Ranking


def ranking_metrics(
    rankings: Iterable[Ranking], best: float
) -> tuple[dict[str, int], dict[str, Mean]]:
    """Returns counts and means over held-out prompts; shards of prompts add up.

    Args:
        rankings: The judge's scores beside the human ranks (1 is the best).
        best: Top of the judge's scale.
    """
    counts: Counter[str] = Counter()
    means = _Means()
    for row in rankings:
        counts["ranked-prompts"] += 1
        signs = list(_signs(row))
        counts["ranked-pairs"] += len(signs)
        counts["unscored-pairs"] += signs.count(None)
        known = [sign for sign in signs if sign is not None]
        for sign in known:
            means.add("pairwiseAccuracy", sign > 0)
            means.add("tieRate", sign == 0)
        if known:
            means.add("pairwiseAccuracyByPrompt", sum(sign > 0 for sign in known) / len(known))
        for rank, score in zip(row.ranks, row.scores, strict=True):
            if score == best:
                means.add("fiveBest", rank == 1)
        _whole_order(row, known, counts, means)
    return dict(counts), means.folded("pairwiseAccuracy", "exactMatch", "fiveBest")


def _whole_order(row: Ranking, signs: list[int], counts: Counter[str], means: "_Means") -> None:
    """Adds exact match and correlations, for prompts whose replies all have a score."""
    scores = [score for score in row.scores if score is not None]
    if len(scores) < len(row.scores):
        counts["partly-scored-prompts"] += 1
    elif len(set(row.ranks)) == 1:
        counts["unordered-prompts"] += 1
    else:
        means.add("exactMatch", all(sign > 0 for sign in signs))
        if len(set(scores)) == 1:
            counts["constant-prompts"] += 1
        else:
            worth = [-rank for rank in row.ranks]
            means.add("spearman", float(spearmanr(worth, scores).statistic))
            means.add("kendall", float(kendalltau(worth, scores).statistic))


def _signs(row: Ranking) -> Iterable[int | None]:
    """Yields for each pair that people ordered: 1 same order, 0 tie, -1 reversed, None unscored."""
    items = list(zip(row.ranks, row.scores, strict=True))
    for (rank, score), (other_rank, other_score) in combinations(items, 2):
        if rank == other_rank:
            continue
        if score is None or other_score is None:
            yield None
            continue
        agreement = (score - other_score) * (other_rank - rank)
        yield (agreement > 0) - (agreement < 0)


def battle_metrics(
    battles: Sequence[Battle], opponent: str = "previous"
) -> tuple[dict[str, int], dict[str, Mean]]:
    """Returns counts and shares of wins, draws and losses of our model, and wins minus losses.

    Args:
        battles: With one opponent.
        opponent: Ends the names of the figures (``winRateFirst``, ``battles-first``), unless it is
            the model's predecessor.
    """
    results = Counter(battle.result for battle in battles)
    weight, suffix = float(len(battles)), "" if opponent == "previous" else opponent
    totals = {
        "winRate": results["win"],
        "drawRate": results["tie"],
        "lossRate": results["loss"],
        "gain": results["win"] - results["loss"],
    }
    counts = {
        "battles": len(battles),
        "invalid-verdicts": sum(battle.verdicts.count("invalid") for battle in battles),
    }
    ending = f"-{suffix}" if suffix else ""
    return {f"{name}{ending}": count for name, count in counts.items()}, {
        f"{name}{suffix.capitalize()}": Mean(total=float(total), weight=weight)
        for name, total in totals.items()
    }


class _Means:
    def __init__(self) -> None:
        self._terms: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self._terms.setdefault(name, []).append(float(value))

    def folded(self, *always: str) -> dict[str, Mean]:
        """Returns the means; those named are there even if nothing was measured."""
        nothing: dict[str, list[float]] = {name: [] for name in always}
        terms = nothing | self._terms
        return {n: Mean(total=sum(v), weight=float(len(v))) for n, v in sorted(terms.items())}
