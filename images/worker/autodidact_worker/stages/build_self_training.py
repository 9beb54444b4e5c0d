"""Stage ``build-self-training``: right samples, each text once, beside the gold rows. No torch."""

from collections import defaultdict

from autodidact_contract.records import AnswerSample, Problem
from autodidact_contract.stages.data import BuildSelfTraining
from autodidact_worker.answers import questions
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[BuildSelfTraining]) -> Output:
    """Writes ``rows.jsonl``: each question's own row, then those of its samples.

    Counts: ``rows``; ``gold``, the questions; ``right``, right samples; ``unique``, different ones;
    ``self-taught``, those that were kept; ``solved``, questions with one.

    Raises:
        UserError: ``InvalidData``: a sample answers a question that is not there.
    """
    given = rows.read(context.inputs["questions"].path / rows.DATA, Problem)
    right = _right(context, {row.id for row in given})
    counts = {"gold": len(given), "right": sum(map(len, right.values())), "unique": 0, "solved": 0}
    made: list[Problem] = []
    for row in given:
        taught, different = questions.self_taught(row, right[row.id], context.config.keep)
        made += [row, *taught]
        counts["unique"] += different
        counts["solved"] += bool(taught)
    rows.write(context.out / rows.DATA, made)
    context.progress(len(given), len(given))
    return Output(counts={**counts, "rows": len(made), "self-taught": len(made) - len(given)})


def _right(context: Context[BuildSelfTraining], known: set[str]) -> dict[str, list[str]]:
    """Returns the texts of the right samples of each question, in the order of sampling."""
    texts: dict[str, list[str]] = defaultdict(list)
    for _, samples in rows.read_parts(context.inputs["samples"].path, "samples", AnswerSample):
        for sample in samples:
            if sample.question_id not in known:
                raise UserError(
                    "InvalidData",
                    f"sample {sample.id} answers {sample.question_id}, which is none of the "
                    "questions; give the questions that were sampled",
                )
            if sample.correct and sample.index >= 0:
                texts[sample.question_id].append(sample.text)
    return texts
