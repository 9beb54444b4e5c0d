"""Counts and means of the scores of replies, on any scale. Pure."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Judged


class Scores:
    """Scores of one part file after the other; the replies to a prompt stand together in one."""

    def __init__(self) -> None:
        """Starts with none."""
        self.counts: Counter[str] = Counter()
        self._scores: list[float] = []
        self._spreads: list[float] = []

    def add(self, judged: Sequence[Judged]) -> None:
        """Takes note of the replies of a part.

        Counts: ``responses``, ``unscored`` ones, ``prompts``, and ``ties``, prompts whose scored
        replies, two at least, all have one score.
        """
        prompts = [_scores(list(group)) for _, group in groupby(judged, lambda row: row.prompt_id)]
        several = [scores for scores in prompts if len(scores) > 1]
        self._scores += [score for scores in prompts for score in scores]
        self._spreads += [max(scores) - min(scores) for scores in several]
        self.counts["responses"] += len(judged)
        self.counts["unscored"] += sum(row.score is None for row in judged)
        self.counts["prompts"] += len(prompts)
        self.counts["ties"] += sum(len(set(scores)) == 1 for scores in several)

    def metrics(self) -> dict[str, Mean]:
        """Returns the mean ``score``, and the mean ``spread`` from worst to best of a prompt."""
        return {
            "score": Mean(total=sum(self._scores), weight=float(len(self._scores))),
            "spread": Mean(total=sum(self._spreads), weight=float(len(self._spreads))),
        }


def _scores(replies: Sequence[Judged]) -> list[float]:
    return [row.score for row in replies if row.score is not None]
