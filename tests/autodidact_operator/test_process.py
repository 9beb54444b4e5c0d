from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autodidact_contract.task import Progress
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.resources import RunKey
from autodidact_operator.cluster.watches import SILENCE_S, WatchHealth
from autodidact_operator.cluster.workqueue import WorkQueue
from autodidact_operator.process import Intake, Parts, ill
from autodidact_operator.progress import ProgressBook
from autodidact_operator.web import MAX_QUEUE_AGE_S, Reporter
from support.control import RUNS, Clock, body

KEY = RunKey("SelfRewardRun", "research", "a")
REPORTER = Reporter(run_uid="uid-a", shard=0, pod_uid="pod")


@dataclass
class FakeController:
    """Notes when runs are to be looked at."""

    clock: Clock
    primed: bool = True
    enqueued: list[float] = field(default_factory=list)

    def enqueue(self, key: RunKey, delay: float = 0.0) -> None:
        """Note the moment."""
        assert key == KEY
        self.enqueued.append(self.clock() + delay)


@pytest.fixture
def parts(clock: Clock) -> Any:
    """The parts that health and progress need, with one run."""
    cache = Cache([RUNS])
    cache.apply(RUNS, "ADDED", body(RUNS, "a"))
    queue = WorkQueue[RunKey](clock)
    queue.open()
    return cast(
        "Parts",
        SimpleNamespace(
            settings=SimpleNamespace(status_seconds=2.0),
            cache=cache,
            queue=queue,
            book=ProgressBook(),
            watches=WatchHealth(cache.resources, clock),
            world=SimpleNamespace(monotonic=clock),
            controller=FakeController(clock),
        ),
    )


def test_news_are_shown_at_most_every_two_seconds(parts: Any, clock: Clock) -> None:
    """The first report wakes the run at once, a storm of them once every two seconds."""
    intake, began = Intake(parts), clock()
    for step in range(100):
        assert intake.take(REPORTER, Progress(stage="x", step=step, total=100))
        clock.advance(0.1)
    moments = [moment - began for moment in parts.controller.enqueued]
    assert moments == pytest.approx([0, 2, 4, 6, 8, 10], abs=0.01)
    assert parts.book.latest("uid-a")["x"][0].step == 99


def test_a_report_of_an_unknown_run_wakes_nobody(parts: Any) -> None:
    """A pod whose run was just deleted does no harm."""
    stranger = Reporter(run_uid="gone", shard=0, pod_uid="pod")
    assert Intake(parts).take(stranger, Progress(stage="x", step=1, total=2))
    assert parts.controller.enqueued == []


def test_a_fresh_process_is_well(parts: Any) -> None:
    """Nothing is wrong at the beginning."""
    assert ill(parts) == ""


def test_a_silent_watch_is_an_illness(parts: Any, clock: Clock) -> None:
    """A watch without a sign of life for too long is named."""
    clock.advance(SILENCE_S + 1)
    for path in ("/api/v1/pods", "/x/selfrewardruns", "/x/computeprofiles"):
        parts.watches.saw(path)
    assert ill(parts) == "silent watches: jobs.batch 181 s"


def test_a_stuck_queue_is_an_illness(parts: Any, clock: Clock) -> None:
    """A run that nobody gets to is an illness."""
    parts.queue.add(KEY)
    clock.advance(MAX_QUEUE_AGE_S + 1)
    assert ill(parts) == "a run has been waiting for 61 s"
