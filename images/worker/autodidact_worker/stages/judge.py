"""Stage ``judge``: the model scores its own replies, several times each."""

from collections import Counter

from autodidact_contract.artifacts import part_name
from autodidact_contract.records import Judged, Response
from autodidact_contract.stages.judging import Judge
from autodidact_worker import generation
from autodidact_worker.generation import Generator, seed_key
from autodidact_worker.judging import judgement, rubrics, votes
from autodidact_worker.judging.scores import Scores
from autodidact_worker.judging.votes import Ballot
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.runtime.progress import Ticks


def run(context: Context[Judge]) -> Output:
    """Writes ``judged-NNNNN.jsonl``: every reply with all its votes and their mean."""
    parts = list(
        rows.read_parts(
            context.inputs["responses"].path, "responses", Response, context.shard, context.shards
        )
    )
    total = sum(len(replies) for _, replies in parts) * context.config.votes
    counts: Counter[str] = Counter()
    scores = Scores()
    tick = Ticks(context.progress, total)
    if parts:
        generator = generation.load(context.inputs["model"].path)
    for number, replies in parts:
        judged = _judge(context, generator, replies, tick)
        rows.write(context.out / part_name("judged", number), judged)
        counts += count(judged)
        scores.add(judged)
    return Output(
        counts=counts + scores.counts,
        metrics=scores.metrics(),
        engine=generator.engine if parts else "",
    )


def count(judged: list[Judged]) -> Counter[str]:
    """Returns what the gates and the report need to know about votes; scores are of the rubric."""
    counts: Counter[str] = Counter()
    for row in judged:
        counts.update(judgement.counts(row.votes))
        counts["skipped-too-long"] += not row.votes
        if row.score is not None:
            counts[f"score-{int(row.score)}"] += 1
    return counts


def _judge(
    context: Context[Judge],
    generator: Generator,
    replies: list[Response],
    tick: Ticks,
) -> list[Judged]:
    """Returns the replies of one part with their votes; one that is too long to judge has none."""
    config = context.config
    end = tick.done + len(replies) * config.votes
    ballots = [
        Ballot(
            id=row.id,
            prompt=row.prompt,
            response=row.text,
            seed_key=seed_key(config.seed, config.stage, row.id),
        )
        for row in replies
    ]
    found = votes.cast(
        generator,
        rubrics.get(config.rubric),
        ballots,
        config.sampling,
        votes=config.votes,
        fractional=config.allow_fractional,
        tick=tick,
        stopping=context.stopping,
    )
    tick.done = end  # also where replies were too long to be judged
    return [
        Judged(
            id=row.id,
            prompt_id=row.prompt_id,
            prompt=row.prompt,
            text=row.text,
            finish=row.finish,
            votes=own,
            score=judgement.mean_score(own, config.min_valid),
        )
        for row, own in zip(replies, found, strict=True)
    ]
