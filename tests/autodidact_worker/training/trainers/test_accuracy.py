import pytest

from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Request
from autodidact_worker.generation.transformers import TransformersGenerator
from support.training_rows import (
    QUESTIONS,
    VALIDATION,
    Run,
    figures,
)


def test_questions_are_learned_until_their_answers_are_right(run_trainer: Run) -> None:
    """Measured before the first step and once an epoch; the written model answers as measured."""
    enough = VALIDATION.model_copy(update={"until": 1.0})
    out, output = run_trainer(
        questions=QUESTIONS, validation=enough, epochs=60, learning_rate=1e-2, batch_size=9
    )
    measured = figures(out, "accuracy")
    steps = [step for step, _ in measured]
    assert steps == list(range(len(steps)))
    assert len(steps) < 60
    assert measured[0][1] < 1.0 == measured[-1][1]
    assert output.metrics["accuracy"].value == 1.0
    assert output.counts["keptStep"] == output.counts["steps"] == steps[-1]
    assert output.counts["read-ok"] + output.counts.get("read-empty", 0) == 6 * len(steps)
    requests = [Request(id=q.id, prompt=q.prompt, n=1, seed_key=q.id) for q in QUESTIONS[:6]]
    greedy = Sampling(temperature=0, top_p=1, max_new_tokens=4)
    said = TransformersGenerator.load(out).generate(requests, greedy)
    assert [found[0].text for found in said] == [q.answer for q in QUESTIONS[:6]]


def test_a_warm_up_has_the_rates_of_its_long_schedule(run_trainer: Run) -> None:
    """Two of ten epochs of three steps: the first six of thirty rates, each row seen twice."""
    settings = {"questions": QUESTIONS, "batch_size": 3, "warmup_ratio": 0.4, "schedule": "linear"}
    out, output = run_trainer(epochs=10, stop_epochs=2, **settings)
    rates = [value for _, value in figures(out, "learningRate")]
    # Twelve of thirty steps rise to 1e-3.
    assert rates == pytest.approx([1e-3 * (step + 1) / 12 for step in range(6)])
    whole = [value for _, value in figures(run_trainer(epochs=10, **settings)[0], "learningRate")]
    assert whole[:6] == rates
    assert output.counts["steps"] == 6
    # A prompt of two tokens, an answer of one, and the end token.
    assert output.counts["tokens"] == 2 * 9 * 4
