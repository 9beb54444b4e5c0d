from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training import schedule


def rate(step: int, **changes: Any) -> float:
    """Learning rate at a step of eleven."""
    values = {
        "learning_rate": 1.0,
        "final_learning_rate": 0.2,
        "warmup_steps": 0,
        "warmup_ratio": 0.0,
        **changes,
    }
    return schedule.learning_rate(SimpleNamespace(**values), step, 11)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "begin", "quarter", "middle", "end"),
    [
        # 0.2 + 0.8 (1 + cos(pi/5)) / 2 = 0.923607
        ("cosine", 1.0, 0.923607, 0.6, 0.2),
        ("linear", 1.0, 0.84, 0.6, 0.2),
        ("constant", 1.0, 1.0, 1.0, 1.0),
    ],
)
def test_learning_rate_falls_to_its_final_value(
    schedule: str, begin: float, quarter: float, middle: float, end: float
) -> None:
    """Exact at the first step, after a fifth, half way and at the very last step."""
    found = [rate(step, schedule=schedule) for step in (0, 2, 5, 10)]
    assert found == pytest.approx([begin, quarter, middle, end], abs=1e-6)


def test_learning_rate_warms_up() -> None:
    """It reaches its peak in the asked number of steps and falls from there."""
    found = [rate(step, schedule="linear", warmup_steps=4) for step in range(11)]
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[7] == pytest.approx(0.6)
    assert found[10] == pytest.approx(0.2)


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.05, 1), (0.3, 4), (1.0, 11)])
def test_learning_rate_warms_up_over_a_share_of_the_steps(ratio: float, steps: int) -> None:
    """Of eleven steps, rounded up; the rates are those of so many steps."""
    found = [rate(step, schedule="linear", warmup_ratio=ratio) for step in range(11)]
    assert found == [rate(step, schedule="linear", warmup_steps=steps) for step in range(11)]


def test_warm_up_steps_come_before_their_share() -> None:
    """Where both are given the number of steps counts."""
    both = {"schedule": "linear", "warmup_steps": 2}
    assert [rate(s, warmup_ratio=0.9, **both) for s in range(11)] == [
        rate(s, **both) for s in range(11)
    ]


def test_order_shows_every_row_once_an_epoch() -> None:
    """Two and a half epochs: each row twice or thrice, the same for the same seed."""
    lengths = [number % 7 + 1 for number in range(40)]
    found = schedule.order(lengths, 2.5, 8, seed=0)
    assert len(found) == 100
    assert set(Counter(found).values()) == {2, 3}
    assert found == schedule.order(lengths, 2.5, 8, seed=0)
    assert found != schedule.order(lengths, 2.5, 8, seed=1)


def test_order_puts_similar_lengths_together() -> None:
    """Of long and short rows, at most one full batch has both, and batches are not sorted."""
    lengths = [100 if number % 4 == 0 else 5 for number in range(320)]
    found = schedule.order(lengths, 1, 16, seed=0)
    kinds = [{lengths[row] for row in found[i : i + 16]} for i in range(0, 320, 16)]
    assert sum(len(kind) == 2 for kind in kinds) <= 1
    assert kinds != sorted(kinds, key=max)


@pytest.mark.parametrize(
    ("batch", "micro", "world", "wanted"),
    [(16, None, 1, (16, 1)), (16, 2, 4, (2, 2)), (16, None, 8, (2, 1)), (16, 16, 1, (16, 1))],
)
def test_batch_size_is_global(
    batch: int, micro: int | None, world: int, wanted: tuple[int, int]
) -> None:
    """Rows of a pass times passes times processes make the batch."""
    config: Any = SimpleNamespace(batch_size=batch, micro_batch_size=micro)
    assert schedule.micro_batches(config, world) == wanted


@pytest.mark.parametrize(("batch", "micro", "world"), [(16, 3, 1), (16, None, 3), (2, None, 4)])
def test_batches_that_do_not_divide_are_refused(batch: int, micro: int | None, world: int) -> None:
    """The sentence has all three numbers."""
    config: Any = SimpleNamespace(batch_size=batch, micro_batch_size=micro)
    with pytest.raises(UserError, match=f"batchSize {batch} is not a multiple of {world} "):
        schedule.micro_batches(config, world)
