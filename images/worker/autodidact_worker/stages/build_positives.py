"""Stage ``build-positives``: replies that the judge gave the best score, as instructions. No torch.

Source: arXiv 2401.10020 section 2.4. The paper does not say what becomes of replies that were cut
or that say the same: here cut ones are left out, for SFT would teach to end there, and each text
comes once a prompt.
"""

from collections import Counter

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Instruction, Judged
from autodidact_contract.stages.data import BuildPositives
from autodidact_worker.judging import rubrics
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[BuildPositives]) -> Output:
    """Writes ``rows.jsonl``, which may be empty: the run's gate decides.

    Counts: ``responses`` with a score; ``positives``; of those with the best score
    ``dropped-truncated``, ``dropped-empty`` and ``dropped-identical``. Metrics: mean ``score`` of
    the scored replies, ``length`` in characters of the positives.
    """
    config = context.config
    best = rubrics.get(config.rubric).high
    counts: Counter[str] = Counter(responses=0, positives=0)
    counts.update({f"dropped-{reason}": 0 for reason in ("truncated", "empty", "identical")})
    kept: dict[tuple[str, str], Instruction] = {}
    total = 0.0
    for _, judged in rows.read_parts(context.inputs["judged"].path, "judged", Judged):
        for row in judged:
            if row.score is None:
                continue
            counts["responses"] += 1
            total += row.score
            if row.score != best:
                continue
            text = row.text.strip()
            if row.finish == "length":
                counts["dropped-truncated"] += 1
            elif not text:
                counts["dropped-empty"] += 1
            elif (row.prompt, text) in kept:
                counts["dropped-identical"] += 1
            else:
                kept[row.prompt, text] = Instruction(prompt=row.prompt, response=row.text)
    counts["positives"] = len(kept)
    rows.write(context.out / rows.DATA, kept.values())
    context.progress(counts["responses"], counts["responses"])
    lengths = float(sum(len(row.response) for row in kept.values()))
    metrics = {
        "score": Mean(total=total, weight=float(counts["responses"])),
        "length": Mean(total=lengths, weight=float(len(kept))),
    }
    return Output(counts=counts, metrics=metrics)
