"""Stage ``sample``: answers to questions, each with the value that was read out of it."""

from collections.abc import Sequence

from autodidact_contract.artifacts import part_name, shard_parts
from autodidact_contract.records import AnswerSample, Problem
from autodidact_contract.stages.answers import Sample
from autodidact_worker import generation
from autodidact_worker.answers import reading
from autodidact_worker.answers.grading import Grade, Grader
from autodidact_worker.answers.tally import GREEDY, Tally
from autodidact_worker.generation import Completion, Generator, Request, seed_key
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.runtime.progress import Ticks


def run(context: Context[Sample]) -> Output:
    """Writes ``samples-NNNNN.jsonl``: all answers to 64 questions, by question and index.

    ``gold`` in a row is the gold answer's value by the rules, as ``value`` is the answer's.

    Counts: see ``Tally`` and ``Grader.counts``.

    Raises:
        UserError: ``PromptTooLong``: a prompt leaves no room in the model's context. Where one
            leaves less than ``max_new_tokens`` its answers are cut there, as in training.
        StoppedError: Between two batches.
    """
    config = context.config
    problems = rows.read(context.inputs["questions"].path / rows.DATA, Problem)
    parts = {
        number: rows.chunk(problems, number)
        for number in shard_parts(len(problems), context.shard, context.shards)
    }
    tally = Tally()
    each = config.per_question + config.greedy
    tick = Ticks(context.progress, each * sum(map(len, parts.values())))
    if parts:
        generator = generation.load(context.inputs["model"].path)
    with Grader(config.answers) as grader:
        for number, chunk in parts.items():
            written = _answer(context, generator, grader, chunk, tick)
            rows.write(context.out / part_name("samples", number), written)
            tally.add(chunk, written)
        return Output(
            counts={**tally.counts, **grader.counts()},
            metrics=tally.metrics(),
            engine=generator.engine if parts else "",
        )


def _answer(
    context: Context[Sample],
    generator: Generator,
    grader: Grader,
    problems: Sequence[Problem],
    tick: Ticks,
) -> list[AnswerSample]:
    """Returns the graded answers to the questions of one part."""
    config = context.config
    found: dict[str, list[tuple[int, Completion]]] = {row.id: [] for row in problems}

    def generate(count: int, first: int, temperature: float) -> None:
        requests = [
            Request(
                id=row.id,
                prompt=row.prompt,
                n=count,
                seed_key=seed_key(config.seed, config.stage, row.id),
                max_new_tokens=generator.room(row.prompt, config.sampling.max_new_tokens),
            )
            for row in problems
        ]
        sampling = config.sampling.model_copy(update={"temperature": temperature})
        made = generator.generate(requests, sampling, tick, context.stopping)
        for row, completions in zip(problems, made, strict=True):
            found[row.id] += enumerate(completions, first)

    if config.greedy:
        generate(1, GREEDY, 0.0)
    if config.per_question:
        generate(config.per_question, 0, config.sampling.temperature)
    written = [(row, index, one) for row in problems for index, one in found[row.id]]
    grades = grader.grade([(row, one.text) for row, _, one in written])
    golds = {
        row.id: str(reading.read_gold(row.answer, config.answers, row.options).value)
        for row in problems
    }
    return [
        _sample(row, index, one, grade, golds[row.id])
        for (row, index, one), grade in zip(written, grades, strict=True)
    ]


def _sample(
    row: Problem, index: int, completion: Completion, grade: Grade, gold: str
) -> AnswerSample:
    return AnswerSample(
        id=f"{row.id}/{index}",
        question_id=row.id,
        prompt=row.prompt,
        index=index,
        text=completion.text,
        tokens=completion.tokens,
        finish=completion.finish,
        value=grade.value,
        reason=grade.reason,
        correct=grade.correct,
        gold=gold,
    )
