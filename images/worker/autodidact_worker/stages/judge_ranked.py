"""Stage ``judge-ranked``: a model judges replies that people ranked, several times each."""

from collections import Counter

from autodidact_contract.artifacts import part_name, shard_parts
from autodidact_contract.records import JudgedRanking, RankedReplies
from autodidact_contract.stages.judging import JudgeRanked
from autodidact_worker import generation
from autodidact_worker.generation import Generator, seed_key
from autodidact_worker.judging import judgement, rubrics, votes
from autodidact_worker.judging.votes import Ballot
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.runtime.progress import Ticks


def run(context: Context[JudgeRanked]) -> Output:
    """Writes ``judged-NNNNN.jsonl``: every ranking with the votes on each reply.

    Counts: see ``judgement.counts``; ``skipped-too-long``, replies that cannot be judged.
    """
    config = context.config
    ranked = rows.read(context.inputs["ranked"].path / rows.DATA, RankedReplies)
    parts = {
        number: rows.chunk(ranked, number)
        for number in shard_parts(len(ranked), context.shard, context.shards)
    }
    total = sum(len(row.replies) for part in parts.values() for row in part) * config.attempts
    counts: Counter[str] = Counter()
    tick = Ticks(context.progress, total)
    if not parts:
        return Output(counts=counts)
    generator = generation.load(context.inputs["model"].path)
    for number, part in parts.items():
        judged = _judged(context, generator, part, tick)
        rows.write(context.out / part_name("judged", number), judged)
        for row in judged:
            for own in row.votes:
                counts.update(judgement.counts(own))
                counts["skipped-too-long"] += not own
    return Output(counts=counts, engine=generator.engine)


def _judged(
    context: Context[JudgeRanked],
    generator: Generator,
    part: list[RankedReplies],
    tick: Ticks,
) -> list[JudgedRanking]:
    config = context.config
    ballots = [
        Ballot(
            id=f"{name}-{index}",
            prompt=row.prompt,
            response=reply,
            seed_key=seed_key(config.seed, config.stage, f"{name}-{index}"),
        )
        for row in part
        for name in [rows.text_id(row.prompt)]
        for index, reply in enumerate(row.replies)
    ]
    found = iter(
        votes.cast(
            generator,
            rubrics.get(config.rubric),
            ballots,
            config.sampling,
            votes=config.attempts,
            fractional=config.allow_fractional,
            tick=tick,
            stopping=context.stopping,
        )
    )
    return [
        JudgedRanking(
            prompt_id=rows.text_id(row.prompt),
            prompt=row.prompt,
            replies=row.replies,
            ranks=row.ranks,
            votes=tuple(next(found) for _ in row.replies),
        )
        for row in part
    ]
