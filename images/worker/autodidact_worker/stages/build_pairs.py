"""Stage ``build-pairs``: best and worst reply of each prompt, and what was dropped. No torch."""

from collections import Counter
from itertools import groupby

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Judged, Pair
from autodidact_worker import pairing, rows
from autodidact_worker.frame import Context, Output


def run(context: Context) -> Output:
    """Writes ``pairs-NNNNN.jsonl``. No pair at all is no error here: the run's gate decides."""
    counts: Counter[str] = Counter(prompts=0, pairs=0)
    counts.update({f"dropped-{reason}": 0 for reason in pairing.DROPS})
    pairs: list[Pair] = []
    scores: list[float] = []
    for _, judged in rows.read_parts(context.inputs["judged"].path, "judged", Judged):
        scores += [row.score for row in judged if row.score is not None]
        for _, group in groupby(judged, key=lambda row: row.prompt_id):
            counts["prompts"] += 1
            found = pairing.pair(list(group), context.config)
            if isinstance(found, Pair):
                pairs.append(found)
            else:
                counts[f"dropped-{found}"] += 1
    counts["pairs"] = len(pairs)
    rows.write_parts(context.out, "pairs", pairs)
    context.progress(counts["prompts"], counts["prompts"])
    return Output(counts=counts, metrics=_metrics(pairs, scores))


def _metrics(pairs: list[Pair], scores: list[float]) -> dict[str, Mean]:
    def mean(values: list[float]) -> Mean:
        return Mean(total=sum(values), weight=float(len(values)))

    return {
        "gap": mean([pair.chosen_score - pair.rejected_score for pair in pairs]),
        "chosenScore": mean([pair.chosen_score for pair in pairs]),
        "rejectedScore": mean([pair.rejected_score for pair in pairs]),
        "chosenLength": mean([float(len(pair.chosen)) for pair in pairs]),
        "rejectedLength": mean([float(len(pair.rejected)) for pair in pairs]),
        "score": mean(scores),
    }
