"""Has a reranker choose among the samples of each question.

Source: arXiv 2401.08967 section 4.3.
"""

from collections.abc import Sequence
from itertools import groupby

from autodidact_contract.records import AnswerSample, Reranked
from autodidact_contract.stages.answers import Answers, RerankAnswers
from autodidact_worker.answers import majority
from autodidact_worker.models import classifier, loading
from autodidact_worker.models.loading import Loaded


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
