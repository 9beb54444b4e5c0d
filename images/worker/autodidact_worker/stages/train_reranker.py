"""Stage ``train-reranker``: a classifier that says whether a sampled answer is right.

It is initialised from a language model and trained on that question's own mistakes: each different
sample of a training question is a row. Source: arXiv 2401.08967 section 4.3.
"""

from collections.abc import Iterable

from autodidact_contract.records import AnswerSample
from autodidact_contract.stages.training import TrainReranker
from autodidact_worker.models import classifier
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, start
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.start import Row
from autodidact_worker.training.trainers import reranker


def run(context: Context[TrainReranker]) -> Output:
    """Trains and writes the classifier and its curve (``training_log.jsonl``).

    Inputs: model, samples.

    Raises:
        UserError: ``OneClass``, or the model cannot be used; see ``reranker``.
        StoppedError: Asked to stop; a checkpoint is in the store.
    """
    config = context.config
    parts = rows.read_parts(context.inputs["samples"].path, "samples", AnswerSample)
    samples = different(sample for _, part in parts for sample in part)
    labels = [int(sample.correct) for sample in samples]
    _check_classes(labels)
    layout = Layout.of_environment()
    distributed.join(layout)
    path = context.inputs["model"].path
    begin = start.start(path, config, layout, labels=classifier.LABELS)
    found = []
    for sample in samples:
        ids, cut = classifier.encode(begin.tokenizer, sample, begin.limit)
        found.append(Row(prompt=ids, targets=([],), cut=cut))
    return reranker.train(context, begin, found, labels, layout)


def different(samples: Iterable[AnswerSample]) -> list[AnswerSample]:
    """Returns each question's different texts, the first of equals; greedy answers are left out."""
    found: dict[tuple[str, str], AnswerSample] = {}
    for sample in samples:
        if sample.index >= 0:
            found.setdefault((sample.question_id, sample.text), sample)
    return list(found.values())


def _check_classes(labels: list[int]) -> None:
    right = sum(labels)
    if right in (0, len(labels)):
        raise UserError(
            "OneClass",
            f"of {len(labels)} different samples of the training questions {right} are correct and "
            f"{len(labels) - right} are wrong, so there is nothing to tell apart; raise "
            "sampling.trainSamples or sampling.temperature, or turn the reranker off",
        )
