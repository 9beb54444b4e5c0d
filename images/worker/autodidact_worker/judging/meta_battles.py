"""A model compares its own judgements of a reply, two by two and in both orders.

Source: arXiv 2407.19594 section 2.2; what the battles come to is in ``meta``.
"""

from collections import Counter
from dataclasses import dataclass

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Judged, JudgedJudgements, JudgementBattle
from autodidact_contract.stages.judging import MetaJudge
from autodidact_worker.generation import Generator, Request, seed_key
from autodidact_worker.judging import meta, rubrics
from autodidact_worker.runtime.frame import Context
from autodidact_worker.runtime.progress import Ticks


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: two votes of a reply, shown in one order.

    Attributes:
        texts: The two judgements without their scores, in the order of their votes.
        swapped: Whether the second one is shown first.
    """

    row: Judged
    votes: tuple[int, int]
    texts: tuple[str, str]
    swapped: bool

    @property
    def name(self) -> str:
        """Names the comparison in the noise of its answer."""
        return f"{self.row.id}/{self.votes[0]}-{self.votes[1]}-{int(self.swapped)}"


class Comparing:
    """Comparisons of one part after the other, and what became of them."""

    def __init__(
        self, context: Context[MetaJudge], generator: Generator | None, total: int
    ) -> None:
        self.counts: Counter[str] = Counter(battles=0)
        self.counts.update({f"verdicts-{kind}": 0 for kind in ("first", "second", "tie")})
        self.counts["verdicts-unreadable"] = self.counts["skipped-too-long"] = 0
        self._higher, self._different = 0, 0
        self._context, self._rubric = context, rubrics.get(context.config.rubric)
        self._generator, self._tick = generator, Ticks(context.progress, total)

    def compare(self, judged: list[Judged]) -> list[JudgedJudgements]:
        """Returns replies with the battles of their judgements."""
        questions = [self._questions(row) for row in judged]
        differing = [q for asked in questions for q in asked if q.texts[0] != q.texts[1]]
        winners = self._ask(differing)
        self._tick(sum(map(len, questions)) - len(winners))
        return [
            JudgedJudgements(
                id=row.id,
                prompt_id=row.prompt_id,
                prompt=row.prompt,
                text=row.text,
                votes=row.votes,
                battles=tuple(
                    self._battle(both, winners)
                    for both in zip(asked[::2], asked[1::2], strict=True)
                ),
            )
            for row, asked in zip(judged, questions, strict=True)
        ]

    def metrics(self) -> dict[str, Mean]:
        """Returns what the verdicts lean to."""
        first, second = self.counts["verdicts-first"], self.counts["verdicts-second"]
        return {
            "higherPreferred": Mean(total=self._higher, weight=self._different),
            "firstPreferred": Mean(total=first, weight=first + second),
        }

    def _questions(self, row: Judged) -> list[Comparison]:
        texts = [meta.without_score(self._rubric, vote.text) for vote in row.votes]
        return [
            Comparison(
                row=row, votes=votes, texts=(texts[votes[0]], texts[votes[1]]), swapped=order
            )
            for votes in meta.meetings(row)
            for order in (False, True)
        ]

    def _ask(self, questions: list[Comparison]) -> dict[str, meta.Winner]:
        """Returns who wins each comparison that fits, by its name."""
        config = self._context.config
        generator = self._generator
        if generator is None:
            return {}
        asked = {
            q.name: meta.render(self._rubric, q.row, *(q.texts[::-1] if q.swapped else q.texts))
            for q in questions
        }
        fitting = [q for q in questions if generator.fits(asked[q.name], config.sampling)]
        self.counts["skipped-too-long"] += len(questions) - len(fitting)
        requests = [
            Request(
                id=q.name,
                prompt=asked[q.name],
                n=1,
                seed_key=seed_key(config.seed, config.stage, q.name),
            )
            for q in fitting
        ]
        answers = generator.generate(requests, config.sampling, self._tick, self._context.stopping)
        return {
            q.name: meta.read(self._rubric, one.text, *q.texts, swapped=q.swapped)
            for q, [one] in zip(fitting, answers, strict=True)
        }

    def _battle(
        self, orders: tuple[Comparison, Comparison], winners: dict[str, meta.Winner]
    ) -> JudgementBattle:
        """Returns the battle of two votes, whose orders these are, and counts it."""
        row, (first, second) = orders[0].row, orders[0].votes
        verdicts = tuple("tie" if q.texts[0] == q.texts[1] else winners.get(q.name) for q in orders)
        battle = JudgementBattle(first=first, second=second, verdicts=verdicts)
        wins = meta.position_wins([battle])
        self.counts["battles"] += 1
        self.counts["verdicts-first"] += wins[0]
        self.counts["verdicts-second"] += wins[1]
        self.counts["verdicts-tie"] += verdicts.count("tie")
        self.counts["verdicts-unreadable"] += verdicts.count(None)
        a, b = row.votes[first].score, row.votes[second].score
        if a is not None and b is not None and a != b:
            self._different += sum(wins)
            self._higher += verdicts.count("first" if a > b else "second")
        return battle
