"""Stage ``rerank-answers``: of each question's samples the one that the reranker likes best.

Source: arXiv 2401.08967 section 4.3.
"""

from collections.abc import Sequence
from itertools import groupby

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import AnswerSample, Reranked
from autodidact_contract.stages.answers import Answers, RerankAnswers
from autodidact_worker.answers import majority
from autodidact_worker.models import classifier, loading
from autodidact_worker.models.loading import Loaded
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
        found, cut = rerank(loaded, part, context.config)
        rows.write(context.out / part_name("reranked", number), found)
        counts["questions"] += len(found)
        counts["candidates"] += sum(row.candidates for row in found)
        counts["truncated"] += cut
        right += sum(row.correct for row in found)
        context.progress(done + 1, len(parts))
    accuracy = Mean(total=float(right), weight=float(counts["questions"]))
    return Output(counts=counts, metrics={"rerankAccuracy": accuracy})


def rerank(
    loaded: Loaded, samples: Sequence[AnswerSample], config: RerankAnswers
) -> tuple[list[Reranked], int]:
    """Returns the choice for each question, and how many candidates were cut.

    Args:
        loaded: The reranker.
        samples: All of each question's, by question and index.
        config: Which values count, and how much the reranker reads.
    """
    model, tokenizer = loaded
    groups = [list(group) for _, group in groupby(samples, key=lambda row: row.question_id)]
    competing = [
        majority.candidates([row for row in group if row.index >= 0], config.answers)
        for group in groups
    ]
    limit = min(config.max_length, loading.context_tokens(model) or config.max_length)
    encoded = [classifier.encode(tokenizer, row, limit) for rows_ in competing for row in rows_]
    pad = model.config.pad_token_id
    scores = iter(classifier.probabilities(model, [row.ids for row in encoded], pad))
    found = [
        choice(group, candidates, [next(scores) for _ in candidates], config.answers)
        for group, candidates in zip(groups, competing, strict=True)
    ]
    return found, sum(row.cut for row in encoded)


def choice(
    group: Sequence[AnswerSample],
    candidates: Sequence[AnswerSample],
    scores: Sequence[float],
    rules: Answers,
) -> Reranked:
    """Returns the choice for a question.

    Args:
        group: All its answers; one at least.
        candidates: Those that compete.
        scores: How likely each of these is correct.
        rules: Which values count.
    """
    best = majority.rerank(candidates, scores, rules)
    return Reranked(
        question_id=group[0].question_id,
        gold=group[0].gold,
        value=best.value if best else None,
        correct=best is not None and best.correct,
        probability=max(scores, default=None),
        candidates=len(candidates),
    )
