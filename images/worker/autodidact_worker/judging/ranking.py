"""Has a model score replies that people ranked."""

from collections import Counter
from collections.abc import Callable, Sequence

from autodidact_contract.records import RankedReplies, Ranking
from autodidact_contract.stages.judging import Evaluate
from autodidact_worker.generation import Generator, Request, Tick, seed_key
from autodidact_worker.judging import judgement
from autodidact_worker.judging.rubrics import Rubric
from autodidact_worker.runtime import rows


def rank(
    generator: Generator,
    rubric: Rubric,
    ranked: Sequence[RankedReplies],
    config: Evaluate,
    tick: Tick,
    stopping: Callable[[], bool],
) -> tuple[list[Ranking], Counter[str]]:
    """Returns the judge's mean score of every reply, and the counts of its votes.

    Args:
        generator: The model that judges.
        rubric: How it is asked, and how its answers are read.
        ranked: Prompts with the replies to them.
        config: Number of votes and their noise.
        tick: Takes note of completions.
        stopping: Looked at between two batches.

    Raises:
        UserError: ``PromptTooLong``.
        StoppedError: ``stopping`` said so.
    """
    requests = [
        Request(
            id=f"{rows.text_id(row.prompt)}-{index}",
            prompt=judgement.render(rubric, row.prompt, reply),
            n=config.votes,
            seed_key=seed_key(config.seed, "evaluate/judge", f"{rows.text_id(row.prompt)}-{index}"),
        )
        for row in ranked
        for index, reply in enumerate(row.replies)
    ]
    found = generator.generate(requests, config.contest.judge_sampling, tick, stopping)
    counts: Counter[str] = Counter()
    scores: list[float | None] = []
    for completions in found:
        votes = [
            judgement.vote(rubric, one.text, one.finish, fractional=config.allow_fractional)
            for one in completions
        ]
        counts.update(judgement.counts(votes))
        scores.append(judgement.mean_score(votes, config.min_valid))
    remaining = iter(scores)
    rankings = [
        Ranking(
            prompt_id=rows.text_id(row.prompt),
            ranks=row.ranks,
            scores=tuple(next(remaining) for _ in row.replies),
        )
        for row in ranked
    ]
    return rankings, counts
