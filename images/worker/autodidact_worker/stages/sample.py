"""Stage ``sample``: answers to questions, each with the value that was read out of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from autodidact_contract.artifacts import Mean, part_name, shard_parts
from autodidact_contract.records import AnswerSample, Problem
from autodidact_contract.stages.answers import Sample
from autodidact_worker import generation
from autodidact_worker.answers import reading
from autodidact_worker.answers.grading import Grade, Grader
from autodidact_worker.generation import Completion, Generator, Request, seed_key
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output

GREEDY = -1
"""Index of a question's greedy answer, which comes before its samples."""


def run(context: Context) -> Output:
    """Writes ``samples-NNNNN.jsonl``: all answers to 64 questions, by question and index.

    ``gold`` in a row is the gold answer's value by the rules, as ``value`` is the answer's.

    Counts: ``questions``; ``answers`` and ``truncated``, of the samples alone; ``tokens``, of all;
    ``unique-texts``, of a question's samples; and the grader's.

    Raises:
        UserError: ``PromptTooLong``: a prompt leaves no room in the model's context. Where one
            leaves less than ``max_new_tokens`` its answers are cut there, as in training.
        StoppedError: Between two batches.
    """
    config: Sample = context.config
    problems = rows.read(context.inputs["questions"].path / rows.DATA, Problem)
    parts = {
        number: rows.chunk(problems, number)
        for number in shard_parts(len(problems), context.shard, context.shards)
    }
    tally = _Tally()
    tick = _ticker(context, sum(map(len, parts.values())))
    if parts:
        generator = generation.load(context.inputs["model"].path)
    with Grader(config.answers) as grader:
        for number, chunk in parts.items():
            written = _answer(context, generator, grader, chunk, tick)
            rows.write(context.out / part_name("samples", number), written)
            tally.add(chunk, written)
        return tally.output(grader.counts(), generator.engine if parts else "")


def _ticker(context: Context, questions: int) -> Callable[[int], None]:
    config: Sample = context.config
    total, done = questions * (config.per_question + config.greedy), 0

    def tick(made: int) -> None:
        nonlocal done
        done += made
        context.progress(done, total)

    return tick


def _answer(
    context: Context,
    generator: Generator,
    grader: Grader,
    problems: Sequence[Problem],
    tick: Callable[[int], None],
) -> list[AnswerSample]:
    """Returns the graded answers to the questions of one part."""
    config: Sample = context.config
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


class _Tally:
    """Sums over the parts of a shard."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter(
            dict.fromkeys(("questions", "answers", "tokens", "truncated", "unique-texts"), 0)
        )
        self._right = self._greedy = self._greedy_right = self._values = 0

    def add(self, problems: Sequence[Problem], written: Iterable[AnswerSample]) -> None:
        """Counts the answers of one part."""
        texts: dict[str, set[str]] = {row.id: set() for row in problems}
        values: dict[str, set[str]] = {row.id: set() for row in problems}
        for row in written:
            self._counts["tokens"] += row.tokens
            if row.index == GREEDY:
                self._greedy += 1
                self._greedy_right += row.correct
                continue
            self._counts["answers"] += 1
            self._counts["truncated"] += row.finish == "length"
            self._right += row.correct
            texts[row.question_id].add(row.text)
            if row.value is not None:
                values[row.question_id].add(row.value)
        self._counts["questions"] += len(problems)
        self._counts["unique-texts"] += sum(map(len, texts.values()))
        self._values += sum(map(len, values.values()))

    def output(self, graded: dict[str, int], engine: str) -> Output:
        """Returns counts and means, and what sampled."""
        counts = self._counts
        return Output(
            counts={**counts, **graded},
            engine=engine,
            metrics={
                "accuracy": _mean(self._right, counts["answers"]),
                "greedyAccuracy": _mean(self._greedy_right, self._greedy),
                "uniqueValues": _mean(
                    self._values, counts["questions"] if counts["answers"] else 0
                ),
                "tokens": _mean(counts["tokens"], counts["answers"] + self._greedy),
            },
        )


def _mean(total: int, weight: int) -> Mean:
    return Mean(total=float(total), weight=float(weight))
