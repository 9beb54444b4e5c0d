"""Stage ``build-judge-pairs``: best and worst judgement of each prompt, by their battles. No torch.

Source: arXiv 2407.19594 section 2.2; see ``judging.meta``.
"""

from collections import Counter

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import JudgedJudgements, Pair
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_worker.curation import judge_pairs
from autodidact_worker.judging import meta
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[BuildJudgePairs]) -> Output:
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
    config = context.config
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
        made = judge_pairs.pair(row, config, weight)
        if isinstance(made, str):
            counts[f"dropped-{made}"] += 1
        else:
            found.append(made)
    kept = judge_pairs.capped(found, config, counts)
    counts["pairs"] = len(kept)
    rows.write_parts(context.out, "pairs", [made for made, _ in kept])
    context.progress(len(judged), len(judged))
    metrics = judge_pairs.metrics(kept) | {"firstWeight": Mean(total=weight[0])}
    return Output(counts=counts, metrics=metrics)
