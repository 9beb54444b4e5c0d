"""Chooses among many answers to one question: majority votes and reranking. Pure.

Source: arXiv 2401.08967, section 4.3. Departure: its code counts values that are exactly the same;
here a vote is for a group of equal values. Equality with a tolerance is not transitive, so the
first value of a group stands for it: a value joins the earliest group whose first value it equals.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import reading

Equality = Callable[[str, str], bool]
"""Whether a value (second) is the same as the gold value or a group's first value (first)."""


class Candidate(Protocol):
    """An answer that reranking may choose, such as an ``AnswerSample``."""

    @property
    def text(self) -> str:
        """What the model wrote."""

    @property
    def value(self) -> str | None:
        """What was read out of it."""


_C = TypeVar("_C", bound=Candidate)


def can_vote(value: str | None, rules: Answers) -> bool:
    """Returns whether a value takes part in votes.

    ``rcCompat`` lets choices vote that are one character long, of whatever kind; ``robust`` values
    are options already.
    """
    if value is None:
        return False
    return rules.rules == "robust" or rules.kind != "choice" or len(value) == 1


def majority(
    values: Sequence[str | None], rules: Answers, same: Equality | None = None
) -> tuple[str | None, int]:
    """Returns the value with most votes and their number; None and 0 where no value votes.

    Args:
        values: Values in the order of sampling; those without one are ignored.
        rules: Whose equality makes groups.
        same: An equality to use instead, such as ``Grader.equal`` where formulas count.

    Returns:
        The first value of the largest group; of equally large ones, of the one sampled first.
    """
    votes = _Votes(rules, same)
    for value in values:
        votes.cast(value)
    return votes.leader()


def vote_curve(
    values: Sequence[Sequence[str | None]],
    golds: Sequence[str],
    ks: Sequence[int],
    rules: Answers,
    same: Equality | None = None,
) -> dict[int, float]:
    """Returns the share of questions whose majority of the first k answers is right, by k.

    Args:
        values: Values of each question's answers in the order of sampling.
        golds: Value of each question's gold answer, see ``reading.read_gold``.
        ks: Numbers of answers; see ``checkpoints``.
        rules: See ``majority``.
        same: See ``majority``.
    """
    right = dict.fromkeys(sorted(ks), 0)
    equal = same or _equality(rules)
    for gold, sampled in zip(golds, values, strict=True):
        votes = _Votes(rules, same)
        done = 0
        for k in right:
            for value in sampled[done:k]:
                votes.cast(value)
            done = k
            vote, _ = votes.leader()
            right[k] += vote is not None and equal(gold, vote)
    return {k: count / len(golds) for k, count in right.items()} if golds else {}


def checkpoints(samples: int) -> tuple[int, ...]:
    """Returns after how many samples a vote is looked at: 1, 2, 4, ... and all."""
    return tuple(sorted({*powers_of_two(samples), samples} - {0}))


def powers_of_two(n: int) -> tuple[int, ...]:
    """Returns 1, 2, 4, ... up to ``n``."""
    return tuple(1 << power for power in range(n.bit_length()))


def candidates(samples: Sequence[_C], rules: Answers) -> list[_C]:
    """Returns the answers that compete in reranking: the first of each text, with a value.

    Those whose value could not vote do not compete, and under ``rcCompat`` neither do choices that
    are no letter.

    Args:
        samples: Answers in the order of sampling.
        rules: Which values count.
    """
    different = {sample.text: sample for sample in reversed(samples)}
    return [row for row in samples if different[row.text] is row and _competes(row.value, rules)]


def rerank(samples: Sequence[_C], scores: Sequence[float], rules: Answers) -> _C | None:
    """Returns the candidate with the highest score, of equals the first; None where none competes.

    Args:
        samples: Answers in the order of sampling.
        scores: The reranker's score of each.
        rules: Which values count.
    """
    score = {id(sample): value for sample, value in zip(samples, scores, strict=True)}
    competing = candidates(samples, rules)
    return max(competing, key=lambda row: score[id(row)], default=None)


def _competes(value: str | None, rules: Answers) -> bool:
    if value is None or not can_vote(value, rules):
        return False
    return rules.rules == "robust" or rules.kind != "choice" or value.isalpha()


def _equality(rules: Answers) -> Equality:
    return lambda gold, value: reading.equal(gold, value, rules)


def _groups(rules: Answers, same: Equality | None) -> "_Groups | _NumberGroups":
    if same is None and rules.kind == "number":
        return _NumberGroups(_equality(rules))
    return _Groups(same or _equality(rules))


class _Votes:
    """Votes as they come, by group."""

    def __init__(self, rules: Answers, same: Equality | None) -> None:
        self._rules = rules
        self._groups = _groups(rules, same)
        self._group_of: dict[str, int] = {}  # texts that are the same need no comparison
        self._firsts: list[str] = []
        self._votes: list[int] = []

    def cast(self, value: str | None) -> None:
        """Counts a vote if it is one."""
        if value is None or not can_vote(value, self._rules):
            return
        group = self._group_of.get(value)
        if group is None:
            group = self._groups.find(value)
            self._group_of[value] = group
            if group == len(self._firsts):
                self._firsts.append(value)
                self._votes.append(0)
        self._votes[group] += 1

    def leader(self) -> tuple[str | None, int]:
        """Returns the first value and the size of the largest group."""
        if not self._votes:
            return None, 0
        most = max(self._votes)
        return self._firsts[self._votes.index(most)], most


class _Groups:
    """First values of groups, each compared with a new value."""

    def __init__(self, same: Equality) -> None:
        self._same = same
        self._firsts: list[str] = []

    def find(self, value: str) -> int:
        """Returns the number of a value's group, a new one if no first value equals it."""
        for group, first in enumerate(self._firsts):
            if self._same(first, value):
                return group
        self._firsts.append(value)
        return len(self._firsts) - 1


_REACH = 0.011
"""No tolerance reaches farther, floating point included."""


class _NumberGroups:
    """First values of groups in order of size, so that only close ones are compared."""

    def __init__(self, same: Equality) -> None:
        self._same = same
        self._groups = 0
        self._firsts: list[tuple[float, int, str]] = []

    def find(self, value: str) -> int:
        """Returns the number of a value's group, a new one if no first value equals it."""
        number = float(value)
        begin = bisect_left(self._firsts, (number - _REACH, -1, ""))
        end = bisect_left(self._firsts, (number + _REACH, self._groups, ""))
        close = self._firsts[begin:end]
        equal = [group for _, group, first in close if self._same(first, value)]
        if equal:
            return min(equal)
        if math.isfinite(number):  # nothing else equals infinity, and NaN has no place in an order
            insort(self._firsts, (number, self._groups, value))
        self._groups += 1
        return self._groups - 1
