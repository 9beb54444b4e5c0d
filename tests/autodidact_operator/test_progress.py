from typing import Any

import pytest

from autodidact_contract.task import Progress
from autodidact_operator import progress as module
from autodidact_operator.progress import ProgressBook, eta, fraction


@pytest.fixture
def book() -> ProgressBook:
    """An empty book."""
    return ProgressBook()


def report(
    book: ProgressBook,
    step: int,
    now: float,
    total: int = 100,
    shard: int = 0,
    pod: str = "pod-1",
    stage: str = "judge-1",
    **metrics: float,
) -> bool:
    """Record a report of the run `run`."""
    told = Progress(stage=stage, step=step, total=total, metrics=metrics)
    return book.record("run", shard, pod, told, now)


def test_the_latest_report_counts(book: ProgressBook) -> None:
    """A stage's report replaces the one before, shard by shard."""
    report(book, 1, 10.0, loss=2.0)
    report(book, 5, 20.0, loss=1.0)
    report(book, 7, 20.0, shard=2, pod="pod-2")
    reports = book.latest("run")["judge-1"]
    assert [(r.shard, r.step) for r in reports] == [(0, 5), (2, 7)]
    assert reports[0].metrics == {"loss": 1.0}


def test_an_unknown_run_has_no_reports(book: ProgressBook) -> None:
    """A run that nobody reported about has no stages."""
    assert dict(book.latest("other")) == {}


def test_time_left_follows_from_the_rate(book: ProgressBook) -> None:
    """Ten steps in ten seconds and ninety to go make ninety seconds, less what passed since."""
    report(book, 0, 0.0)
    report(book, 10, 10.0)
    assert eta(book.latest("run")["judge-1"], now=10.0) == pytest.approx(90)
    assert eta(book.latest("run")["judge-1"], now=40.0) == pytest.approx(60)


def test_the_slowest_shard_decides(book: ProgressBook) -> None:
    """A stage takes as long as its slowest shard."""
    for shard, step in ((0, 50), (1, 10)):
        report(book, 0, 0.0, shard=shard)
        report(book, step, 10.0, shard=shard)
    assert eta(book.latest("run")["judge-1"], now=10.0) == pytest.approx(90)


def test_one_report_is_no_rate(book: ProgressBook) -> None:
    """The time left is unknown after a single report."""
    report(book, 10, 0.0)
    assert eta(book.latest("run")["judge-1"], now=5.0) is None


def test_an_unknown_total_leaves_the_time_unknown(book: ProgressBook) -> None:
    """Without a total nobody knows the end."""
    report(book, 1, 0.0, total=0)
    report(book, 5, 9.0, total=0)
    assert eta(book.latest("run")["judge-1"], now=9.0) is None


def test_a_finished_shard_needs_no_time(book: ProgressBook) -> None:
    """A shard at its end has nothing left, even with one report."""
    report(book, 100, 0.0)
    assert eta(book.latest("run")["judge-1"], now=9.0) == 0


@pytest.mark.parametrize("again", [{"pod": "pod-2"}, {"step": 3}])
def test_another_attempt_starts_its_own_clock(book: ProgressBook, again: dict[str, Any]) -> None:
    """A new pod, or one that went back, does not inherit the rate of the old one."""
    report(book, 0, 0.0)
    report(book, 50, 10.0)
    report(book, **{"step": 60, "now": 500.0, **again})
    assert eta(book.latest("run")["judge-1"], now=500.0) is None


def test_shards_that_are_silent_count_as_not_begun(book: ProgressBook) -> None:
    """One of two shards half done makes a quarter."""
    report(book, 50, 0.0)
    assert fraction(book.latest("run")["judge-1"], shards=2) == 0.25
    assert fraction([], shards=2) is None


def test_only_living_runs_are_kept(book: ProgressBook) -> None:
    """What is not wanted any more is forgotten."""
    report(book, 1, 0.0)
    book.keep(["other"])
    assert dict(book.latest("run")) == {}


def test_a_worker_cannot_fill_the_memory(book: ProgressBook) -> None:
    """Stages, shards, metrics and the length of names are bounded."""
    assert not report(book, 1, 0.0, stage="x" * 64)
    for number in range(module.MAX_STAGES):
        assert report(book, 1, 0.0, stage=f"s{number}")
    assert not report(book, 1, 0.0, stage="one more")
    report(book, 1, 0.0, stage="s0", **{f"m{n}": 1.0 for n in range(99)})
    assert len(book.latest("run")["s0"][0].metrics) == module.MAX_METRICS
