"""What is counted of sampled answers."""

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import AnswerSample, Problem
from autodidact_worker.answers.tally import GREEDY, Tally


def problem(name: str) -> Problem:
    """A question."""
    return Problem(id=name, question=name, prompt=name, target="", answer="1")


def sample(name: str, index: int, text: str, value: str | None, tokens: int = 2) -> AnswerSample:
    """An answer; it is right where its value is 1, and cut where it has none."""
    return AnswerSample(
        id=f"{name}/{index}",
        question_id=name,
        prompt=name,
        index=index,
        text=text,
        tokens=tokens,
        finish="stop" if value else "length",
        value=value,
        correct=value == "1",
        reason="ok" if value else "no-trigger",
        gold="1",
    )


def test_greedy_answers_count_apart() -> None:
    """Their tokens count with the others'; texts, values and accuracies do not."""
    tally = Tally()
    rows = [
        sample("a", GREEDY, "x", "1", 5),
        sample("a", 0, "x", "1"),
        sample("a", 1, "x", "1"),
        sample("a", 2, "y", "2"),
        sample("b", 0, "z", None),
    ]
    tally.add([problem("a"), problem("b")], rows)
    assert dict(tally.counts) == {
        "questions": 2,
        "answers": 4,
        "tokens": 13,
        "truncated": 1,
        "unique-texts": 3,
    }
    assert tally.metrics() == {
        "accuracy": Mean(total=2, weight=4),
        "greedyAccuracy": Mean(total=1, weight=1),
        "uniqueValues": Mean(total=2, weight=2),
        "tokens": Mean(total=13, weight=5),
    }


def test_means_without_samples_weigh_nothing() -> None:
    """Questions that were answered greedily alone have no mean of samples."""
    tally = Tally()
    tally.add([problem("a")], [sample("a", GREEDY, "x", "2")])
    found = tally.metrics()
    assert [found[name].weight for name in ("accuracy", "uniqueValues")] == [0, 0]
    assert found["greedyAccuracy"] == Mean(total=0, weight=1)
