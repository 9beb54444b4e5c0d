"""Judgements of judgements: what the model is asked, and ratings from the battles. Pure.

Source: arXiv 2407.19594 section 2.2. Of each prompt the reply is taken whose votes differ most; its
judgements meet two by two, shown in both orders. With ``wins1`` and ``wins2`` the verdicts of all
prompts in favour of what is shown first and second, a win in the first position weighs
w1 = wins2 / (wins1 + wins2) and one in the second w2 = wins1 / (wins1 + wins2), so that a preference
for a position gains nothing. With B(m, n) the weighted wins of m over n, the ratings are those that
maximise the sum over m and n of B(m, n) log sigmoid(e(m) - e(n)). The best and the worst rated
judgement become a pair.

Departures: a verdict that is a tie or cannot be read is no win for either; the paper is silent.
``PRIOR`` wins are added on both sides of each two judgements: without them one that never lost would
be rated infinitely high. Ratings are natural logarithms of odds, not scaled to 400 / ln 10 points.
The compared judgements are shown without their scores, which the model would go by.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from statistics import pvariance
from typing import Literal

from autodidact_contract.records import Judged, JudgedJudgements, JudgementBattle
from autodidact_worker.judging import judgement
from autodidact_worker.judging.rubrics import Rubric, fill

Winner = Literal["first", "second", "tie"] | None

PRIOR = 0.1
"""Wins of either side that are added to each two judgements; a verdict weighs about 0.5."""

EQUAL = 1e-6
"""Ratings that differ by less are the same."""

_SPACES = re.compile(r"[ \t]+$", re.MULTILINE)


def most_disputed(replies: Sequence[Judged], seed: int) -> Judged | None:
    """Returns the reply to a prompt whose readable votes have the largest variance.

    Replies with fewer than two readable votes, or only equal ones, do not count; None if there are
    no others. Ties go to the seed.
    """
    spread = {row.id: pvariance(scores) for row in replies if len(scores := _scores(row)) > 1}
    disputed = [row for row in replies if spread.get(row.id)]
    return min(disputed, key=lambda row: (-spread[row.id], draw(seed, row.id)), default=None)


def meetings(row: Judged | JudgedJudgements) -> list[tuple[int, int]]:
    """Returns each two readable votes of a reply by their indices."""
    readable = [index for index, vote in enumerate(row.votes) if vote.score is not None]
    return list(combinations(readable, 2))


def without_score(rubric: Rubric, text: str) -> str:
    """Returns a judgement without the score it ends in, and without other lines of that form."""
    return _SPACES.sub("", rubric.score.sub("", text)).strip()


def render(rubric: Rubric, row: Judged, first: str, second: str) -> str:
    """Returns what asks the model which of two judgements of a reply is better.

    Args:
        rubric: Has the text that asks.
        row: The reply.
        first: A judgement without its score.
        second: Another one.
    """
    values = {"prompt": row.prompt, "response": row.text, "a": first, "b": second}
    return fill(rubric.meta, values)


def read(rubric: Rubric, answer: str, first: str, second: str, *, swapped: bool) -> Winner:
    """Returns which judgement an answer prefers, None where it cannot be read.

    Args:
        rubric: How to read it.
        answer: What the model wrote.
        first: The judgement that comes first in the battle, without its score.
        second: The other one.
        swapped: Whether the second one was shown first.
    """
    shown = (second, first) if swapped else (first, second)
    verdict = rubric.nearer(answer, *shown) if rubric.nearer else judgement.verdict(answer)
    if verdict is None or verdict == "tie":
        return verdict
    return "first" if (verdict == "A") != swapped else "second"


def position_wins(battles: Iterable[JudgementBattle]) -> tuple[int, int]:
    """Returns the verdicts in favour of what was shown first, and of what was shown second."""
    verdicts = Counter(
        (winner == "first") != bool(order)
        for battle in battles
        for order, winner in enumerate(battle.verdicts)
        if winner in ("first", "second")
    )
    return verdicts[True], verdicts[False]


def weights(wins: tuple[int, int]) -> tuple[float, float]:
    """Returns what a win in the first position weighs, and one in the second; a half each without.

    Args:
        wins: In the first and in the second position.
    """
    total = sum(wins)
    return (wins[1] / total, wins[0] / total) if total else (0.5, 0.5)


def ratings(battles: Sequence[JudgementBattle], weight: tuple[float, float]) -> dict[int, float]:
    """Returns the rating of each vote by its index, their mean being 0.

    Args:
        battles: Of the votes of one reply.
        weight: See ``weights``.
    """
    import numpy as np  # noqa: PLC0415 - to be imported without torch and without numpy
    from scipy.optimize import minimize  # noqa: PLC0415

    names = sorted({name for battle in battles for name in (battle.first, battle.second)})
    place = {name: number for number, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))  # [m, n]: of m over n
    for battle in battles:
        first, second = place[battle.first], place[battle.second]
        wins[first, second] += PRIOR
        wins[second, first] += PRIOR
        for order, winner in enumerate(battle.verdicts):
            if winner == "first":
                wins[first, second] += weight[order]
            elif winner == "second":
                wins[second, first] += weight[1 - order]

    def loss(e: "np.ndarray") -> tuple[float, "np.ndarray"]:
        margins = e[:, None] - e[None, :]
        losing = wins / (1 + np.exp(margins))  # wins * sigmoid(-margins)
        return float((wins * np.logaddexp(0, -margins)).sum()), losing.sum(0) - losing.sum(1)

    found = minimize(loss, np.zeros(len(names)), jac=True, method="BFGS", options={"gtol": 1e-9})
    return dict(zip(names, (found.x - found.x.mean()).tolist(), strict=True))


def best_and_worst(found: dict[int, float], name: Callable[[int], bytes]) -> tuple[int, int] | None:
    """Returns the votes with the highest and the lowest rating, None where all are the same.

    Args:
        found: Rating by index of the vote.
        name: Orders votes with the same rating.
    """
    high, low = max(found.values()), min(found.values())
    if high - low < EQUAL:
        return None
    best = [vote for vote, rating in found.items() if high - rating < EQUAL]
    worst = [vote for vote, rating in found.items() if rating - low < EQUAL]
    return min(best, key=name), min(worst, key=name)


def capped(groups: dict[float, list[str]], share: float, seed: int) -> set[str]:
    """Returns the names to keep when no group may have more than a share of all that there are.

    A group keeps one at least; which ones is drawn.
    """
    most = max(1, math.floor(share * sum(map(len, groups.values()))))
    return {name for group in groups.values() for name in sample(group, most, seed)}


def sample(names: Iterable[str], most: int, seed: int) -> list[str]:
    """Returns so many of the names at most, drawn by the seed."""
    return sorted(names, key=lambda name: draw(seed, name))[:most]


def draw(seed: int, name: str) -> bytes:
    """Returns a number for a name that depends on nothing else but the seed."""
    return hashlib.sha256(f"{seed}/meta-judge/{name}".encode()).digest()


def _scores(row: Judged) -> list[float]:
    return [vote.score for vote in row.votes if vote.score is not None]
