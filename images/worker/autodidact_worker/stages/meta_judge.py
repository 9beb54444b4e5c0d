"""Stage ``meta-judge``: the model compares its own judgements, two by two and in both orders.

Source: arXiv 2407.19594 section 2.2; see ``judging.meta``.
"""

from itertools import groupby

from autodidact_contract.artifacts import part_name
from autodidact_contract.records import Judged
from autodidact_contract.stages.judging import MetaJudge
from autodidact_worker import generation
from autodidact_worker.judging import meta
from autodidact_worker.judging.meta_battles import Comparing
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[MetaJudge]) -> Output:
    """Writes ``battles-NNNNN.jsonl``: of each prompt the reply that its votes differ most on.

    Judgements that say the same but for their scores are a tie without being shown, and a
    comparison that does not fit the model's context cannot be read.

    Counts: ``prompts``; ``skipped-undisputed``, prompts without a reply that has different readable
    votes; ``battles``; ``verdicts-first`` and ``verdicts-second``, for what was shown first or
    second; ``verdicts-tie``, ``verdicts-unreadable``; ``skipped-too-long``, comparisons.

    Metrics: ``higherPreferred``, of the decided verdicts on different scores the share for the
    higher one; ``firstPreferred``, of all decided ones the share for what was shown first.
    """
    config = context.config
    judged = context.inputs["judged"].path
    parts: list[tuple[int, list[Judged | None]]] = []
    for number, part in rows.read_parts(judged, "judged", Judged, context.shard, context.shards):
        groups = groupby(part, key=lambda row: row.prompt_id)
        chosen = [meta.most_disputed(list(group), config.seed) for _, group in groups]
        parts.append((number, chosen))
    total = 2 * sum(len(meta.meetings(row)) for _, chosen in parts for row in chosen if row)
    generator = generation.load(context.inputs["model"].path) if total else None
    comparing = Comparing(context, generator, total)
    for number, chosen in parts:
        found = comparing.compare([row for row in chosen if row])
        rows.write(context.out / part_name("battles", number), found)
        comparing.counts["prompts"] += len(chosen)
        comparing.counts["skipped-undisputed"] += chosen.count(None)
    return Output(
        counts=comparing.counts,
        metrics=comparing.metrics(),
        engine=generator.engine if generator else "",
    )
