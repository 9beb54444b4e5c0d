"""Stage ``evaluate``: how well a model judges, and whether it answers better than others.

Phases, each with one model in memory: the model judges people's ranked replies; the model and each
opponent answer the same prompts; the judge of the contest compares the answers, see ``contests``.
Where the task has a measure of its own, the model answers once more, greedily, and both are measured.
Opponents that are the same model are met once, and the battles are written down for each of them.
"""

from collections import Counter
from collections.abc import Iterator

from autodidact_contract.artifacts import PART_ITEMS, Mean, part_name, shard_parts
from autodidact_contract.records import Battle, RankedReplies, Ranking
from autodidact_contract.stages.judging import OPPONENTS, Contest, Evaluate
from autodidact_worker.judging import agreement, contests, match, ranking, rubrics
from autodidact_worker.judging.contests import Judge, Quality
from autodidact_worker.judging.match import HeldOut, Phases
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[Evaluate]) -> Output:
    """Writes ``rankings-NNNNN.jsonl``, and ``battles-NNNNN.jsonl`` where there are opponents.

    Raises:
        UserError: A held-out row does not fit the model's context; no judge, or one that is of no
            use, see ``contests``.
        StageError: A server that judges is not there.
    """
    config = context.config
    quality = contests.oracle(config.contest)
    names = {name: match.identity(context, name) for name in OPPONENTS if name in context.inputs}
    ours = match.identity(context, "model")
    judge = _judge(context) if names else None
    parts = list(_parts(context))
    steps = Phases(context, parts, judge)
    counts, figures = _rank(context, parts, steps)
    if quality:
        figures["greedyQuality"] = _greedy_quality(context, parts, quality, steps)
    if quality or names:
        for model in ("model", *names):
            for part in parts:
                name = match.identity(context, model)
                if name not in part.replies:  # the very same model may have answered already
                    part.replies[name] = _answers(context, model, part, steps, config.contest)
        figures |= match.figures(parts, ours, names.get("first"), quality)
    if judge:
        battles: list[Battle] = []
        for part in parts:
            fought = match.fight(
                part, ours, names, lambda met: judge.compare(met, steps, context.stopping), quality
            )
            rows.write(context.out / part_name("battles", part.number), fought)
            battles += fought
        for opponent in names:
            met = [battle for battle in battles if battle.opponent == opponent]
            more, shares = agreement.battle_metrics(met, opponent)
            counts |= more
            figures |= shares
    return Output(counts=counts, metrics=figures, engine=steps.engine)


def _judge(context: Context[Evaluate]) -> Judge:
    referee = context.inputs.get("referee")
    return contests.open_judge(
        context.config.contest, context.config.seed, referee.path if referee else None
    )


def _parts(context: Context[Evaluate]) -> Iterator[HeldOut]:
    held_out = rows.read(context.inputs["heldout"].path / rows.DATA, RankedReplies)
    for number in shard_parts(len(held_out), context.shard, context.shards):
        chunk = rows.chunk(held_out, number)
        asked = max(context.config.contest.prompts - number * PART_ITEMS, 0)
        yield HeldOut(number=number, rows=chunk, prompts=[row.prompt for row in chunk[:asked]])


def _rank(
    context: Context[Evaluate], parts: list[HeldOut], steps: Phases
) -> tuple[dict[str, int], dict[str, Mean]]:
    """Has the model judge the ranked replies, and returns how well it did."""
    rubric = rubrics.get(context.config.contest.rubric)
    rankings: list[Ranking] = []
    health: Counter[str] = Counter()
    for part in parts:
        ranked, votes = ranking.rank(
            *(steps.generator("model"), rubric, part.rows, context.config, steps, context.stopping)
        )
        rows.write(context.out / part_name("rankings", part.number), ranked)
        rankings += ranked
        health.update(votes)
    counts, figures = agreement.ranking_metrics(rankings, best=rubric.high)
    return {**counts, **health}, figures


def _answers(
    context: Context[Evaluate], model: str, part: HeldOut, steps: Phases, contest: Contest
) -> list[str]:
    """Returns the replies of an input model to the prompts of a part."""
    generator, seed = steps.generator(model), context.config.seed
    return contests.answer(generator, part.prompts, contest, seed, steps, context.stopping)


def _greedy_quality(
    context: Context[Evaluate], parts: list[HeldOut], quality: Quality, steps: Phases
) -> Mean:
    """Returns the quality of the model's most likely replies."""
    contest = context.config.contest
    greedy = contest.reply_sampling.model_copy(update={"temperature": 0.0})
    contest = contest.model_copy(update={"reply_sampling": greedy})
    replies = [
        both
        for part in parts
        for both in zip(part.prompts, _answers(context, "model", part, steps, contest), strict=True)
    ]
    return match.mean_quality(replies, quality)
