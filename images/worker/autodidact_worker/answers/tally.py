"""Counts sampled answers: their number and length, how many are right, how many differ. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import AnswerSample, Problem

GREEDY = -1
"""Index of a question's greedy answer, which comes before its samples."""


class Tally:
    """Sums over the parts of a shard.

    Attributes:
        counts: ``questions``; ``answers`` and ``truncated``, of the samples alone; ``tokens``, of
            all; ``unique-texts``, of a question's samples.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("questions", "answers", "tokens", "truncated", "unique-texts"), 0)
        )
        self._right = self._greedy = self._greedy_right = self._values = 0

    def add(self, problems: Sequence[Problem], written: Iterable[AnswerSample]) -> None:
        """Counts the answers of one part."""
        texts: dict[str, set[str]] = {row.id: set() for row in problems}
        values: dict[str, set[str]] = {row.id: set() for row in problems}
        for row in written:
            self.counts["tokens"] += row.tokens
            if row.index == GREEDY:
                self._greedy += 1
                self._greedy_right += row.correct
                continue
            self.counts["answers"] += 1
            self.counts["truncated"] += row.finish == "length"
            self._right += row.correct
            texts[row.question_id].add(row.text)
            if row.value is not None:
                values[row.question_id].add(row.value)
        self.counts["questions"] += len(problems)
        self.counts["unique-texts"] += sum(map(len, texts.values()))
        self._values += sum(map(len, values.values()))

    def metrics(self) -> dict[str, Mean]:
        """Returns the means; those of the samples weigh nothing where there are none."""
        questions = self.counts["questions"] if self.counts["answers"] else 0
        return {
            "accuracy": _mean(self._right, self.counts["answers"]),
            "greedyAccuracy": _mean(self._greedy_right, self._greedy),
            "uniqueValues": _mean(self._values, questions),
            "tokens": _mean(self.counts["tokens"], self.counts["answers"] + self._greedy),
        }


def _mean(total: int, weight: int) -> Mean:
    return Mean(total=float(total), weight=float(weight))
