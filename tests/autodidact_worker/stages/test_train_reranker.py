import pytest

from autodidact_worker.runtime.errors import UserError
from autodidact_worker.stages.train_reranker import different
from support.reranked import Train, answer, samples


def test_rows_are_the_different_samples() -> None:
    """Equal texts of a question count once, of two questions twice; greedy ones do not count."""
    given = [
        answer(1, -1, "a"),
        answer(1, 0, "b"),
        answer(1, 1, "b"),
        answer(1, 2, "a"),
        answer(2, 0, "b"),
    ]
    assert [row.id for row in different(given)] == ["q1/0", "q1/2", "q2/0"]


@pytest.mark.parametrize("right", [True, False])
def test_one_class_is_refused(train: Train, right: bool) -> None:
    """All right or all wrong: how many of each, and what to do."""
    given = [row.model_copy(update={"correct": right}) for row in samples(3)]
    wanted = "12 are correct and 0 are wrong" if right else "0 are correct and 12 are wrong"
    with pytest.raises(UserError, match=wanted) as caught:
        train(given)
    assert caught.value.reason == "OneClass"
