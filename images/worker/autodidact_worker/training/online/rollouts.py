"""Rollouts: answers that the model samples while it learns, with their grades and rewards.

The order of questions and all noise are functions of the seed alone, so a rollout depends neither
on how it was batched nor on how many processes share it, and a resumed training repeats it.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autodidact_contract.records import Problem
from autodidact_contract.stages.training import Online
from autodidact_worker.answers.grading import Grade, Grader
from autodidact_worker.generation import Completion, Request, seed_key
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.models import loading, lora
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import kind_of
from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A question's turn.

    Attributes:
        question: Its place among the training questions.
        number: How often it had its turn before.
    """

    question: int
    number: int


def visits(questions: int, first: int, count: int, seed: int) -> list[Visit]:
    """Returns some visits of a training: each question comes once an epoch, shuffled anew.

    Args:
        questions: How many there are.
        first: Visits before these, over all epochs.
        count: Visits wanted.
        seed: Of the shuffling.
    """
    epochs = range(first // questions, -(-(first + count) // questions))
    found = [
        Visit(question=question, number=epoch)
        for epoch in epochs
        for question in random.Random(f"{seed}/visits/{epoch}").sample(range(questions), questions)
    ]
    begin = first - epochs.start * questions
    return found[begin : begin + count]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A sampled answer with its grade and its reward.

    Attributes:
        problem: The question.
        prompt: Its tokens.
        ids: The answer's tokens, with the end token if it ended by itself; at least one.
        text: The answer without special tokens.
        cut: Whether it had to be ended.
        grade: Its value, and whether that is right.
        reward: Terminal reward.
    """

    problem: Problem
    prompt: Sequence[int]
    ids: Sequence[int]
    text: str
    cut: bool
    grade: Grade
    reward: float


Score = Callable[[Grade, Completion], float]
"""The terminal reward of a completion."""


class Sampler:
    """Samples one answer a visit and has it graded."""

    def __init__(
        self,
        problems: Sequence[Problem],
        tokenizer: "PreTrainedTokenizerBase",
        limit: int,
        config: Online,
        layout: Layout,
    ) -> None:
        """Tokenizes every question.

        Args:
            problems: The training questions.
            tokenizer: Of the model.
            limit: Tokens of prompt and answer.
            config: Seed, stage and sampling.
            layout: Whose share of each batch is ours.

        Raises:
            UserError: ``PromptTooLong``, naming the question.
        """
        self._problems, self._tokenizer = problems, tokenizer
        self._config, self._layout = config, layout
        self._prompts = [loading.prompt_ids(tokenizer, problem.prompt) for problem in problems]
        self._limit = limit
        for problem, prompt in zip(problems, self._prompts, strict=True):
            if len(prompt) >= limit:
                raise UserError(
                    "PromptTooLong",
                    f"question {problem.id} has {len(prompt)} tokens and maxLength is {limit}, "
                    "which leaves no room for an answer; shorten it, or raise maxLength as far as "
                    "the model's context goes",
                )

    def share(self, batch: Sequence[Visit]) -> Sequence[Visit]:
        """Returns our visits of a batch; an n-th of the batch has an n-th of each rank's."""
        return batch[self._layout.rank :: self._layout.world]

    def sample(
        self, model: Any, visits: Sequence[Visit], stopping: Callable[[], bool] = lambda: False
    ) -> list[Completion]:
        """Returns an answer to each visit.

        Args:
            model: Whole and in evaluation mode, with or without adapters.
            visits: Our share of a batch.
            stopping: Looked at between two batches.

        Raises:
            StoppedError: ``stopping`` said so.
        """
        generator = TransformersGenerator(lora.plain(model), self._tokenizer)
        requests = [self._request(visit) for visit in visits]
        found = generator.generate(requests, self._config.sampling, stopping=stopping)
        return [completions[0] for completions in found]

    def graded(
        self,
        visits: Sequence[Visit],
        completions: Sequence[Completion],
        grader: Grader,
        score: Score,
    ) -> list[Answer]:
        """Returns the answers with what they are worth."""
        problems = [self._problems[visit.question] for visit in visits]
        texts = [completion.text for completion in completions]
        grades = grader.grade(list(zip(problems, texts, strict=True)))
        return [
            Answer(
                problem=self._problems[visit.question],
                prompt=self._prompts[visit.question],
                ids=completion.ids,
                text=completion.text,
                cut=completion.finish == "length",
                grade=grade,
                reward=score(grade, completion),
            )
            for visit, completion, grade in zip(visits, completions, grades, strict=True)
        ]

    def _request(self, visit: Visit) -> Request:
        problem, prompt = self._problems[visit.question], self._prompts[visit.question]
        config = self._config
        return Request(
            id=problem.id,
            prompt=problem.prompt,
            n=1,
            seed_key=seed_key(
                config.seed,
                kind_of(config),
                f"{problem.id}/{visit.number}",
            ),
            max_new_tokens=min(config.sampling.max_new_tokens, self._limit - len(prompt)),
            ids=prompt,
        )


def arranged(answers: Sequence[Answer], step: int, micro: int) -> list[list[Answer]]:
    """Returns answers in groups for forward passes, similar lengths together.

    Args:
        answers: Our share of a rollout.
        step: Answers of one optimiser step; answers do not change places between steps.
        micro: Answers of a pass; divides ``step``, which divides the number of answers.
    """
    groups = []
    for start in range(0, len(answers), step):
        ordered = sorted(
            answers[start : start + step], key=lambda a: (len(a.prompt) + len(a.ids), len(a.ids))
        )
        groups += [ordered[i : i + micro] for i in range(0, step, micro)]
    return groups


def figures(answers: Sequence[Answer], layout: Layout) -> dict[str, float]:
    """Returns the figures of a rollout; they are the same on every rank.

    ``reward``, ``sampledAccuracy``, ``truncation``, ``unread``, ``timeouts`` and ``rewarded``
    (reward above 0) are shares of the answers; lengths are tokens; ``uniqueTexts`` is the number of
    different texts by that of answers. ``uniqueValues``, where each question has several answers,
    is how many different values these have, a mean over the questions.
    """
    rows = [
        (
            1.0,
            answer.reward,
            answer.grade.correct,
            answer.cut,
            answer.grade.value is None,
            answer.grade.reason == "timeout",
            answer.reward > 0,
            len(answer.prompt),
            len(answer.prompt) ** 2,
            len(answer.ids),
            len(answer.ids) ** 2,
        )
        for answer in answers
    ]
    count, *sums = distributed.summed([sum(column) for column in zip(*rows, strict=True)], layout)
    *shares, query, query_2, length, length_2 = (value / count for value in sums)
    names = ("reward", "sampledAccuracy", "truncation", "unread", "timeouts", "rewarded")
    said = [(answer.problem.id, answer.grade.value, answer.text) for answer in answers]
    everything = [row for rank in distributed.everyone(said, layout) for row in rank]
    return {
        **dict(zip(names, shares, strict=True)),
        "queryLength": query,
        "queryLengthStd": max(0.0, query_2 - query**2) ** 0.5,
        "answerLength": length,
        "answerLengthStd": max(0.0, length_2 - length**2) ** 0.5,
        "uniqueTexts": len({text for *_, text in everything}) / count,
        **_unique_values([(question, value) for question, value, _ in everything]),
    }


def _unique_values(answers: Sequence[tuple[str, str | None]]) -> dict[str, float]:
    """Returns the figure of that name from question and value of each answer."""
    counts = Counter(question for question, _ in answers)
    if min(counts.values()) == 1:
        return {}
    read = {(question, value) for question, value in answers if value is not None}
    return {"uniqueValues": len(read) / len(counts)}
