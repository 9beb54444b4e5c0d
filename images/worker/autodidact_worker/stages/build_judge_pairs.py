"""Stage ``build-judge-pairs``: best and worst judgement of each prompt, by their battles. No torch.

Source: arXiv 2407.19594 section 2.2; see ``meta_judging``.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import JudgedJudgements, Pair
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_worker.judging import judgement, meta, rubrics
from autodidact_worker.judging.rubrics import Rubric
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context) -> Output:
    """Writes ``pairs-NNNNN.jsonl``; a pair's prompt is what the judge was asked.

    Its scores are the judgements' ratings. Pairs are dropped in the order of these counts:
    ``dropped-tie``, no judgement is rated better than another; ``dropped-identical``, best and
    worst are the same text; ``dropped-too-long``, the winner is; ``dropped-score-share``, more
    than ``max_score_share`` of the pairs so far have winners with its score; ``dropped-share``,
    there would be more than ``max_share`` of all pairs. The last two are drawn by the seed.

    Counts beside these: ``prompts``, ``pairs``, and ``reply-pairs``, those of the input.

    Metrics: ``gap`` of the ratings; ``chosenLength`` and ``rejectedLength`` in characters;
    ``chosenScore``, the mean score that the winners give; ``firstWeight``, what a win in the first
    position weighs.
    """
    config: BuildJudgePairs = context.config
    parts = rows.read_parts(context.inputs["battles"].path, "battles", JudgedJudgements)
    judged = [row for _, part in parts for row in part]
    replies = rows.read_parts(context.inputs["pairs"].path, "pairs", Pair)
    counts: Counter[str] = Counter(prompts=len(judged))
    counts["reply-pairs"] = sum(len(part) for _, part in replies)
    battles = [battle for row in judged for battle in row.battles]
    weight = meta.weights(meta.position_wins(battles))
    found: list[tuple[Pair, float]] = []
    for reason in ("tie", "identical", "too-long", "score-share", "share"):
        counts[f"dropped-{reason}"] = 0
    for row in judged:
        made = pair(row, config, weight)
        if isinstance(made, str):
            counts[f"dropped-{made}"] += 1
        else:
            found.append(made)
    kept = _capped(found, config, counts)
    counts["pairs"] = len(kept)
    rows.write_parts(context.out, "pairs", [made for made, _ in kept])
    context.progress(len(judged), len(judged))
    metrics = _metrics(kept) | {"firstWeight": Mean(total=weight[0])}
    return Output(counts=counts, metrics=metrics)


def pair(
    row: JudgedJudgements, config: BuildJudgePairs, weight: tuple[float, float]
) -> tuple[Pair, float] | str:
    """Returns the best and the worst judgement of a reply and the best one's score, or a reason.

    Args:
        row: The reply with its judgements and their battles.
        config: Seed, rubric, and length of a winner.
        weight: Of a win in the first and in the second position.
    """
    found = meta.ratings(row.battles, weight)
    ends = meta.best_and_worst(found, lambda vote: meta.draw(config.seed, f"{row.id}/{vote}"))
    if ends is None:
        return "tie"
    best, worst = (row.votes[end] for end in ends)
    if best.text.strip() == worst.text.strip():
        return "identical"
    if len(best.text) > config.max_chosen_length:
        return "too-long"
    rubric: Rubric = rubrics.get(config.rubric)
    made = Pair(
        prompt_id=row.prompt_id,
        prompt=judgement.render(rubric, row.prompt, row.text),
        chosen=best.text,
        rejected=worst.text,
        chosen_id=f"{row.id}/{ends[0]}",
        rejected_id=f"{row.id}/{ends[1]}",
        chosen_score=found[ends[0]],
        rejected_score=found[ends[1]],
    )
    assert best.score is not None  # only readable judgements meet
    return made, best.score


def _capped(
    found: list[tuple[Pair, float]], config: BuildJudgePairs, counts: Counter[str]
) -> list[tuple[Pair, float]]:
    """Returns the pairs that both shares leave, in their order, and counts the others."""
    groups: dict[float, list[str]] = defaultdict(list)
    for made, score in found:
        groups[score].append(made.chosen_id)
    even = meta.capped(groups, config.max_score_share, config.seed)
    # So many that they are the share of themselves and the pairs of replies.
    most = int(counts["reply-pairs"] * config.max_share / (1 - config.max_share) + 1e-9)
    kept = set(meta.sample(even, most, config.seed))
    counts["dropped-score-share"] = len(found) - len(even)
    counts["dropped-share"] = len(even) - len(kept)
    return [one for one in found if one[0].chosen_id in kept]


def _metrics(kept: Sequence[tuple[Pair, float]]) -> dict[str, Mean]:
    def mean(values: list[float]) -> Mean:
        return Mean(total=sum(values), weight=float(len(values)))

    pairs = [made for made, _ in kept]
    return {
        "gap": mean([made.chosen_score - made.rejected_score for made in pairs]),
        "chosenLength": mean([float(len(made.chosen)) for made in pairs]),
        "rejectedLength": mean([float(len(made.rejected)) for made in pairs]),
        "chosenScore": mean([score for _, score in kept]),
    }
