"""Stage ``build-eft``: judgements that agree with people, rebalanced. No torch."""

from collections import Counter

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Evaluation, JudgedRanking
from autodidact_contract.stages.data import BuildEft
from autodidact_worker.curation import trees
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[BuildEft]) -> Output:
    """Writes ``rows.jsonl``: evaluations for SFT.

    Counts: ``prompts``; ``accepted`` ones, and ``rejected-<reason>`` the others; ``before-<score>``
    and ``after-<score>``, judgements by score before and after rebalancing, where a fraction counts
    with the whole score below it; ``rows``. Metric ``acceptance``: share of the prompts.
    """
    config = context.config
    counts: Counter[str] = Counter({f"rejected-{reason}": 0 for reason in trees.REASONS})
    kept: list[Evaluation] = []
    for _, judged in rows.read_parts(context.inputs["judged"].path, "judged", JudgedRanking):
        for ranking in judged:
            found = trees.agreeing(ranking, config.agreement)
            counts["prompts"] += 1
            if isinstance(found, str):
                counts[f"rejected-{found}"] += 1
            else:
                counts["accepted"] += 1
                kept += found
    balanced = trees.rebalanced(kept, config)
    for name, of in (("before", kept), ("after", balanced)):
        counts.update(f"{name}-{int(row.score)}" for row in of)
    rows.write(context.out / rows.DATA, balanced)
    context.progress(counts["prompts"], counts["prompts"])
    acceptance = Mean(total=float(counts["accepted"]), weight=float(counts["prompts"]))
    return Output(
        counts={**counts, "rows": len(balanced)},
        metrics={"acceptance": acceptance},
    )
