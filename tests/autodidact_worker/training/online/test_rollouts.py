"""Rollouts: the order of visits, what is sampled, and that none of it depends on how it is shared."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodidact_worker.answers.grading import Grade
from autodidact_worker.generation import Completion
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online import rollouts
from autodidact_worker.training.online.rollouts import Answer, Sampler
from support import online_stages


def test_every_question_is_visited_once_an_epoch() -> None:
    """In two and a half epochs twice or thrice; visits are numbered; the seed decides the order."""
    found = rollouts.visits(8, 0, 20, seed=0)
    assert len(found) == 20
    for epoch in range(2):
        visits = found[epoch * 8 : epoch * 8 + 8]
        assert sorted(visit.question for visit in visits) == list(range(8))
        assert {visit.number for visit in visits} == {epoch}
    assert set(Counter(visit.question for visit in found).values()) == {2, 3}
    assert found != rollouts.visits(8, 0, 20, seed=1)


def test_visits_are_the_same_in_pieces() -> None:
    """Batches of 3 or 24 of the same eight questions are cut from one sequence."""
    whole = rollouts.visits(8, 0, 48, seed=0)
    for size in (3, 8, 24):
        pieces = [rollouts.visits(8, first, size, seed=0) for first in range(0, 48, size)]
        assert [visit for piece in pieces for visit in piece] == whole


def sampler(model: Path, world: int = 1, rank: int = 0, **changes: Any) -> Sampler:
    """Returns a sampler of a rank."""
    layout = Layout(world=world, rank=rank, gpu=False)
    config = online_stages.ppo_config(**changes)
    tokenizer = loading.load_tokenizer(model)
    return Sampler(online_stages.PROBLEMS, tokenizer, config.max_length, config, layout)


def test_answers_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    """Two ranks together sample what one does; a second visit samples something else."""
    path = online_stages.write_model(tmp_path)
    model = loading.load(path).model
    visits = rollouts.visits(12, 0, 24, seed=0)
    alone = sampler(path).sample(model, visits)
    shared: list[Completion | None] = [None] * 24
    for rank in range(2):
        one = sampler(path, world=2, rank=rank)
        shared[rank::2] = one.sample(model, one.share(visits))
    assert shared == alone
    answers = {
        (visit.question, visit.number): found for visit, found in zip(visits, alone, strict=True)
    }
    pairs = [(answers[question, 0], answers[question, 1]) for question in range(12)]
    assert any(first != second for first, second in pairs)


def test_prompt_and_answer_fit_the_length(tmp_path: Path) -> None:
    """A long prompt leaves fewer tokens for its answer; one that leaves none is refused by name."""
    path = online_stages.write_model(tmp_path)
    model = loading.load(path).model
    visits = rollouts.visits(12, 0, 12, seed=0)
    found = sampler(path, max_length=6).sample(model, visits)
    for visit, completion in zip(visits, found, strict=True):
        prompt = len(online_stages.PROBLEMS[visit.question].prompt)
        assert 1 <= len(completion.ids) <= min(3, 6 - prompt)
    with pytest.raises(UserError, match="question q8 has 5 tokens and maxLength is 5") as caught:
        sampler(path, max_length=5)
    assert caught.value.reason == "PromptTooLong"


def answer(
    length: int = 1, *, text: str = "1", reward: float = 0.0, cut: bool = False, reason: Any = "ok"
) -> Answer:
    """Returns an answer after a prompt of two tokens."""
    right = reward == 1
    return Answer(
        problem=online_stages.PROBLEMS[0],
        prompt=(5, 6),
        ids=(7,) * length,
        text=text,
        cut=cut,
        grade=Grade(value=None if reason != "ok" else text, reason=reason, correct=right),
        reward=reward,
    )


def test_graded_answers_carry_their_reward() -> None:
    """Grade and completion decide it; tokens, text and cut are the completion's."""
    grades = [Grade(value="1", reason="ok", correct=True), Grade(None, "empty", correct=False)]
    grader: Any = SimpleNamespace(grade=lambda items: grades[: len(items)])
    tokenizer: Any = lambda _: SimpleNamespace(input_ids=[5, 6])  # noqa: E731
    tokenizer.chat_template, tokenizer.eos_token_id, tokenizer.eos_token = None, 1, "<eos>"
    config = online_stages.ppo_config()
    one = Sampler(online_stages.PROBLEMS, tokenizer, 24, config, Layout(gpu=False))
    completions = [
        Completion(text="1", tokens=1, finish="stop", ids=(4, 1)),
        Completion(text="", tokens=1, finish="length", ids=(2,)),
    ]

    def score(grade: Grade, completion: Completion) -> float:
        return float(grade.correct) - 0.5 * (completion.finish == "length")

    found = one.graded(rollouts.visits(12, 0, 2, seed=0), completions, grader, score)
    assert [a.reward for a in found] == [1.0, -0.5]
    assert [a.cut for a in found] == [False, True]
    assert [a.ids for a in found] == [(4, 1), (2,)]


def test_answers_keep_their_optimiser_step() -> None:
    """Within a step similar lengths come together; no answer moves to another step."""
    answers = [answer(length) for length in (9, 1, 8, 2, 1, 7, 2, 8)]
    found = rollouts.arranged(answers, 4, 2)
    assert [[len(a.ids) for a in group] for group in found] == [[1, 2], [8, 9], [1, 2], [7, 8]]


def test_figures_of_a_rollout() -> None:
    """Shares, lengths and unique texts of four answers, by hand."""
    answers = [
        answer(1, text="1", reward=1.0),
        answer(3, text="2", reward=0.1),
        answer(3, text="2", reward=0.1, cut=True),
        answer(5, text="x", reward=0.0, reason="timeout"),
    ]
    found = rollouts.figures(answers, Layout(gpu=False))
    assert found == pytest.approx(
        {
            "reward": 0.3,
            "sampledAccuracy": 0.25,
            "truncation": 0.25,
            "unread": 0.25,
            "timeouts": 0.25,
            "rewarded": 0.75,
            "queryLength": 2.0,
            "queryLengthStd": 0.0,
            "answerLength": 3.0,
            "answerLengthStd": 2**0.5,
            "uniqueTexts": 0.75,
            "uniqueValues": 2.0,  # "1" and "2"; what cannot be read is no value
        }
    )


def test_values_are_counted_by_question() -> None:
    """Groups of three: the values 1, 2, 2 and 1, 1, none are 1.5 a question, not two in all."""
    values = ((0, "1"), (0, "2"), (0, "2"), (1, "1"), (1, "1"), (1, ""))
    answers = [
        replace(
            answer(text=f"{value} {number}", reason="ok" if value else "empty"),
            problem=online_stages.PROBLEMS[question],
            grade=Grade(value=value or None, reason="ok", correct=False),
        )
        for number, (question, value) in enumerate(values)
    ]
    found = rollouts.figures(answers, Layout(gpu=False))
    assert (found["uniqueTexts"], found["uniqueValues"]) == (1.0, 1.5)
    assert "uniqueValues" not in rollouts.figures(answers[2:4], Layout(gpu=False))
