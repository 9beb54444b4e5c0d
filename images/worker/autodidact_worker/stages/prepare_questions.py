"""Stage ``prepare-questions``: questions checked, and rendered as prompts and targets.

Whatever would waste a GPU is found here: gold answers that the rules cannot read, prompts that are
too long, training questions without reasoning. Of the model its tokenizer is read, never its weights.
"""

import logging
from collections.abc import Iterator, Sequence

from autodidact_contract.artifacts import PART_ITEMS
from autodidact_contract.records import Problem, Question
from autodidact_contract.stages.data import PrepareQuestions
from autodidact_worker.answers import questions
from autodidact_worker.answers.grading import Grader
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, Output

log = logging.getLogger(__name__)


def wanted(name: str) -> bool:
    """Returns whether a file of an input is read; a model's weights are not."""
    return not model_files.WEIGHTS.fullmatch(name)


def run(context: Context[PrepareQuestions]) -> Output:
    """Writes ``rows.jsonl`` of problems, in the order of the questions.

    Counts: ``rows``; ``duplicates``, questions that came before; ``overlap``, those that are in
    ``others`` as well; ``too-long``, rows that training cuts; ``unproven``, targets that do not
    lead to the gold answer when they are graded as answers are; and what the sandbox lacks, see
    ``Grader.counts``.

    Raises:
        UserError: ``UnreadableAnswers``, ``MissingReasoning``, ``PromptTooLong``, or
            ``UnprovenReasoning``: not one target leads to its answer.
    """
    config = context.config
    given = rows.read(context.inputs["questions"].path / rows.DATA, Question)
    questions.check_answers(given, config.answers)
    if config.split == "train":
        questions.check_reasoning(given)
    problems = [questions.problem(row, config.answers) for row in given]
    too_long = _check_lengths(context, problems)
    counts = {
        "rows": len(problems),
        "duplicates": _warned(questions.repeated(problems), "came before in this split"),
        "overlap": _warned(_overlap(context, problems), "are in the training split as well"),
        "too-long": _warned(too_long, f"are longer than maxLength {config.max_length} and cut"),
    }
    rows.write(context.out / rows.DATA, problems)
    return Output(counts=counts | _prove(context, problems))


def _check_lengths(context: Context[PrepareQuestions], problems: list[Problem]) -> list[str]:
    """Returns the ids of rows that training cuts; refuses prompts that are too long."""
    config = context.config
    tokenizer = loading.load_tokenizer(context.inputs["model"].path)
    prompts = {row.id: len(loading.prompt_ids(tokenizer, row.prompt)) for row in problems}
    questions.check_lengths(prompts, config.max_question_tokens)
    targets = {
        row.id: len(
            tokenizer(
                loading.completion_text(tokenizer, row.target), add_special_tokens=False
            ).input_ids
        )
        for row in problems
        if row.target
    }
    return [name for name, length in targets.items() if prompts[name] + length > config.max_length]


def _overlap(context: Context[PrepareQuestions], problems: list[Problem]) -> list[str]:
    if "others" not in context.inputs:
        return []
    return questions.seen(problems, rows.read(context.inputs["others"].path / rows.DATA, Problem))


def _prove(context: Context[PrepareQuestions], problems: list[Problem]) -> dict[str, int]:
    """Grades the training targets as if the model had written them.

    A target that earns no reward teaches the model what reinforcement then has to take from it.
    """
    config = context.config
    if config.split != "train":
        return {}
    bad: dict[str, str] = {}
    with Grader(config.answers) as grader:
        for done, chunk in _chunks(problems):
            if context.stopping():
                raise StoppedError
            grades = grader.grade([(row, row.target) for row in chunk])
            for row, grade in zip(chunk, grades, strict=True):
                if not grade.correct:
                    bad[row.id] = f"{grade.value} ({grade.reason}) instead of {row.answer[:40]}"
            context.progress(done, len(problems))
        lacking = {k: v for k, v in grader.counts().items() if k.startswith("sandbox-")}
    questions.check_proofs(bad, len(problems), config.answers)
    if bad:
        log.warning("reasoning does not lead to the gold answer: %s", questions.named(bad))
    return {"unproven": len(bad), "sandbox-missing": 0, **lacking}


def _chunks(problems: Sequence[Problem]) -> Iterator[tuple[int, Sequence[Problem]]]:
    """Yields the problems a few at a time, and how many there were by then."""
    for start in range(0, len(problems), PART_ITEMS):
        chunk = problems[start : start + PART_ITEMS]
        yield start + len(chunk), chunk


def _warned(ids: list[str], what: str) -> int:
    if ids:
        log.warning("%d questions %s: %s", len(ids), what, questions.shown(ids))
    return len(ids)
