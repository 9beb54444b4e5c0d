"""Stage ``rerank-answers``: of each question's samples the one that the reranker likes best.

Source: arXiv 2401.08967 section 4.3.
"""

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import AnswerSample
from autodidact_contract.stages.answers import RerankAnswers
from autodidact_worker.answers import reranking
from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[RerankAnswers]) -> Output:
    """Writes ``reranked-NNNNN.jsonl``: a row a question, those without a readable sample as well.

    Inputs: samples, reranker. Greedy answers do not take part.

    Counts: ``questions``; ``candidates``, of all questions; ``truncated``, candidates that the
    reranker saw the beginning of. Metric: ``rerankAccuracy``, over all questions.

    Raises:
        StoppedError: Between two part files.
        UserError: ``InvalidData``, ``InvalidModel`` or ``UnsafeModel``.
    """
    samples = context.inputs["samples"].path
    parts = list(rows.read_parts(samples, "samples", AnswerSample, context.shard, context.shards))
    counts = dict.fromkeys(("questions", "candidates", "truncated"), 0)
    right = 0
    if parts:
        loaded = loading.load_classifier(context.inputs["reranker"].path)
    for done, (number, part) in enumerate(parts):
        if context.stopping():
            raise StoppedError
        found, cut = reranking.rerank(loaded, part, context.config)
        rows.write(context.out / part_name("reranked", number), found)
        counts["questions"] += len(found)
        counts["candidates"] += sum(row.candidates for row in found)
        counts["truncated"] += cut
        right += sum(row.correct for row in found)
        context.progress(done + 1, len(parts))
    accuracy = Mean(total=float(right), weight=float(counts["questions"]))
    return Output(counts=counts, metrics={"rerankAccuracy": accuracy})
