"""Shares with their uncertainty, and two models on the same questions. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A share of ``n`` trials with its 95 % confidence interval."""

    share: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Interval | None:
    """Returns a share with its Wilson score interval, or None without trials.

    Source: E. B. Wilson 1927; without continuity correction. Unlike the normal approximation it
    stays inside 0 and 1 and is honest near both ends.
    """
    if n <= 0:
        return None
    share, square = successes / n, Z_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return Interval(share=share, low=low, high=high, n=n)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What two models made of the same questions.

    Attributes:
        both: Questions that both got right.
        only_ours: Questions that only ours got right.
        only_theirs: Questions that only theirs got right.
        neither: Questions that none got right.
    """

    both: int
    only_ours: int
    only_theirs: int
    neither: int

    @property
    def n(self) -> int:
        """Questions."""
        return self.both + self.only_ours + self.only_theirs + self.neither

    @property
    def difference(self) -> float:
        """Our accuracy minus theirs."""
        return (self.only_ours - self.only_theirs) / self.n

    @property
    def p(self) -> float:
        """Two-sided p-value of McNemar's exact test.

        If the models were equally good, each question that tells them apart would be a fair coin.
        """
        decided = self.only_ours + self.only_theirs
        fewer = min(self.only_ours, self.only_theirs)
        tail = sum(math.comb(decided, k) for k in range(fewer + 1))
        # Whole numbers to the last: 2**decided is too large for a float from 1,024 on.
        return min(1.0, 2 * tail / (1 << decided))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the difference.

        Source: R. G. Newcombe 1998, Statistics in Medicine 17:2635, method 10: both Wilson
        intervals, combined by the correlation of the answers.
        """
        ours = wilson(self.both + self.only_ours, self.n)
        theirs = wilson(self.both + self.only_theirs, self.n)
        assert ours
        assert theirs
        phi = self._correlation()
        down, up = ours.share - ours.low, ours.high - ours.share
        their_down, their_up = theirs.share - theirs.low, theirs.high - theirs.share
        below = math.sqrt(max(0.0, down**2 - 2 * phi * down * their_up + their_up**2))
        above = math.sqrt(max(0.0, up**2 - 2 * phi * up * their_down + their_down**2))
        return self.difference - below, self.difference + above

    def _correlation(self) -> float:
        """Phi of the two by two table, corrected for continuity where it is positive."""
        a, b, c, d = self.both, self.only_ours, self.only_theirs, self.neither
        sides = (a + b) * (c + d) * (a + c) * (b + d)
        if not sides:
            return 0.0
        excess = a * d - b * c
        return (max(excess - self.n / 2, 0.0) if excess > 0 else excess) / math.sqrt(sides)


def paired(ours: Mapping[str, bool], theirs: Mapping[str, bool]) -> Paired | None:
    """Returns how two models did on the questions that both were asked; None without any.

    Args:
        ours: Whether the answer is right, by question.
        theirs: Likewise.
    """
    pairs = [(right, theirs[question]) for question, right in ours.items() if question in theirs]
    if not pairs:
        return None
    return Paired(
        both=pairs.count((True, True)),
        only_ours=pairs.count((True, False)),
        only_theirs=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )
