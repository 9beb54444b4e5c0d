import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest

from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.controller import RECONCILE_TIMEOUT_S, Controller, Reconcile
from autodidact_operator.cluster.resources import JOBS, PODS, Resource, RunKey
from autodidact_operator.cluster.watches import WatchHealth
from autodidact_operator.cluster.workqueue import WorkQueue
from autodidact_operator.errors import (
    ApiUnavailableError,
    ConflictError,
    ForbiddenError,
    ThrottledError,
)
from autodidact_operator.telemetry import Telemetry
from support.control import RUNS, Body, Clock, Play, body, of_run

KEY = RunKey("SelfRewardRun", "research", "a")
PATH = "/apis/batch/v1/jobs"


class FakeLists:
    """Lists what it is told to, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.items = {}
        self.asked = []
        self.errors = []

    async def list(
        self, resource: Resource, namespace: str | None = None, labels: str = ""
    ) -> tuple[list[Body], str]:
        """Note what was asked."""
        self.asked.append((resource.plural, namespace, labels))
        if self.errors:
            raise self.errors.pop(0)
        return list(self.items.get(resource.plural, [])), "1000000"


class FakeBooks:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.ended = []
        self.kept = None

    def pod_ended(self, run_uid: str) -> None:
        """Note the run."""
        self.ended.append(run_uid)

    def keep(self, run_uids: Iterable[str]) -> None:
        """Note the runs."""
        self.kept = set(run_uids)


class Stage:
    """A controller among fakes."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.lists = FakeLists()
        self.books = FakeBooks()
        self.cache = Cache([RUNS])
        self.queue = WorkQueue(clock, noise=lambda: 1.0)
        self.telemetry = Telemetry()
        self.watches = WatchHealth(self.cache.resources, clock)
        self.controller = Controller(
            kube=self.lists,
            cache=self.cache,
            queue=self.queue,
            books=self.books,
            telemetry=self.telemetry,
            watches=self.watches,
            clock=clock,
            **options,
        )


@pytest.fixture
def stage(clock: Clock) -> Stage:
    """A controller among fakes, for the whole cluster."""
    return Stage(clock)


def pod(phase: str, **more: Any) -> Body:
    """A pod of the run `a`."""
    return body(PODS, "pod", labels=of_run(), status={"phase": phase, **more})


async def nothing(key: RunKey) -> None:
    """A reconcile without wishes."""
    del key


def test_an_event_enqueues_its_run(stage: Stage) -> None:
    """A Job's event puts the key of its run into the queue."""
    stage.queue.open()
    stage.controller.observe(JOBS, "ADDED", body(JOBS, "job", labels=of_run()))
    assert stage.queue.pop() == KEY


def test_a_repeated_event_enqueues_nothing(stage: Stage) -> None:
    """An event that tells what is known causes no work."""
    stage.queue.open()
    same = body(JOBS, "job", labels=of_run())
    stage.controller.observe(JOBS, "ADDED", same)
    stage.queue.done(stage.queue.pop())
    stage.controller.observe(JOBS, None, same)
    assert stage.queue.pop() is None


@pytest.mark.parametrize(
    "ended",
    [
        {"phase": "Failed"},
        {
            "phase": "Running",
            "containerStatuses": [{"name": "worker", "state": {"terminated": {"exitCode": 0}}}],
        },
    ],
)
def test_the_end_of_a_pod_is_noted_once(stage: Stage, ended: Body) -> None:
    """The gap between stages is counted from the first event that shows a pod's end."""
    for state in ({"phase": "Running"}, ended, {"phase": "Succeeded"}):
        stage.controller.observe(PODS, "MODIFIED", pod(**state))
    assert stage.books.ended == ["uid-a"]


def test_priming_lists_everything_with_selectors(stage: Stage, play: Play) -> None:
    """Every kind is listed once; Jobs and Pods only those with our label."""
    play(stage.controller.prime())
    assert stage.controller.primed
    assert set(stage.lists.asked) == {
        ("selfrewardruns", None, ""),
        ("computeprofiles", None, ""),
        ("jobs", None, "autodidact.dev/run"),
        ("pods", None, "autodidact.dev/run"),
    }


def test_only_served_namespaces_are_listed(clock: Clock, play: Play) -> None:
    """Cluster-scoped kinds are listed once, the others in each served namespace."""
    stage = Stage(clock, namespaces=("x", "y"))
    play(stage.controller.prime())
    assert [where for plural, where, _ in stage.lists.asked if plural == "jobs"] == ["x", "y"]
    assert [w for plural, w, _ in stage.lists.asked if plural == "computeprofiles"] == [None]


def test_priming_goes_on_until_the_server_answers(stage: Stage, play: Play) -> None:
    """An API server that is not there yet is waited for."""
    stage.lists.errors = [ApiUnavailableError("no"), ConflictError("expired")]
    play(stage.controller.prime())
    assert stage.controller.primed


def test_priming_fails_without_the_right_to_list(stage: Stage, play: Play) -> None:
    """A missing right ends the process with a message rather than hiding in a loop."""
    stage.lists.errors = [ForbiddenError("no", "list", "pods")]
    with pytest.raises(ForbiddenError):
        play(stage.controller.prime())


def test_leading_begins_with_all_runs(stage: Stage, play: Play) -> None:
    """A new leader looks at every run, with a fresh cache."""
    stage.lists.items["selfrewardruns"] = [body(RUNS, "a"), body(RUNS, "b")]
    play(stage.controller.lead())
    assert {stage.queue.pop(), stage.queue.pop()} == {KEY, KEY._replace(name="b")}


def test_a_resync_finds_what_the_watches_missed(stage: Stage, play: Play) -> None:
    """A Job that is gone without an event puts its run into the queue."""
    stage.queue.open()
    stage.controller.observe(RUNS, "ADDED", body(RUNS, "a"))
    stage.controller.observe(JOBS, "ADDED", body(JOBS, "ghost", labels=of_run()))
    stage.queue.done(stage.queue.pop())
    play(stage.controller.resync([JOBS]))
    assert stage.queue.pop() == KEY
    assert stage.cache.snapshot(KEY).jobs == ()
    assert stage.books.kept == {"uid-a"}


def test_resyncs_come_in_time_and_after_kopf_listed_again(clock: Clock, play: Play) -> None:
    """Everything is listed every so often; what kopf had to list again at once, and only that."""
    stage = Stage(clock, resync_seconds=300)

    async def scene() -> Any:
        resyncing = asyncio.create_task(stage.controller.resync_forever())
        await asyncio.sleep(299)
        assert stage.lists.asked == []
        await asyncio.sleep(2)
        assert len(stage.lists.asked) == 4
        stage.watches.listed(PATH)
        await asyncio.sleep(1)
        assert [plural for plural, _, _ in stage.lists.asked[4:]] == ["jobs"]
        resyncing.cancel()

    play(scene())


def test_a_failed_resync_is_not_the_end(clock: Clock, play: Play) -> None:
    """After a LIST that failed the next one comes as planned."""
    stage = Stage(clock, resync_seconds=10)
    stage.lists.errors = [ApiUnavailableError("no")]

    async def scene() -> Any:
        resyncing = asyncio.create_task(stage.controller.resync_forever())
        await asyncio.sleep(25)
        assert not resyncing.done()
        resyncing.cancel()

    play(scene())
    assert len(stage.lists.asked) == 5


def test_a_run_is_woken_when_it_wants(stage: Stage, clock: Clock, play: Play) -> None:
    """A reconcile's answer is when the run is looked at again."""
    stage.queue.open()

    async def in_a_minute(_key: RunKey) -> float:
        return 60.0

    stage.queue.add(KEY)
    play(stage.controller.step(stage.queue.pop(), in_a_minute))
    assert stage.queue.next_due() == clock() + 60


def failing(error: Exception) -> Reconcile:
    """A reconcile that fails."""

    async def reconcile(_key: RunKey) -> None:
        raise error

    return reconcile


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (ApiUnavailableError("away"), 0.25),
        (ThrottledError("slow down", 9.0), 9.0),
        (RuntimeError("a bug"), 0.25),
    ],
)
def test_a_failure_is_tried_again_later(
    stage: Stage,
    clock: Clock,
    play: Play,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    delay: float,
) -> None:
    """Whatever a reconcile raises ends in a back-off and one line, and never in the worker's end."""
    stage.queue.open()
    stage.queue.add(KEY)
    with caplog.at_level(logging.WARNING):
        play(stage.controller.step(stage.queue.pop(), failing(error)))
    assert stage.queue.next_due() == clock() + delay
    assert len(caplog.records) == 1
    assert "kind=SelfRewardRun namespace=research name=a" in caplog.messages[0]


def test_a_success_ends_the_back_off(stage: Stage, play: Play) -> None:
    """A failure after a success waits as if it were the first."""
    for reconcile in (failing(ConflictError("x")), failing(ConflictError("x")), nothing):
        play(stage.controller.step(KEY, reconcile))
    assert stage.queue.retry(KEY) == 0.25


def test_a_hanging_reconcile_is_cut(stage: Stage, clock: Clock, play: Play) -> None:
    """A reconcile that never ends is cancelled and tried again."""
    began = clock()

    async def hang(_key: RunKey) -> None:
        await asyncio.sleep(10_000)

    play(stage.controller.step(KEY, hang))
    assert clock() - began == pytest.approx(RECONCILE_TIMEOUT_S)
    assert stage.queue.next_due() is not None


def test_workers_share_the_work_and_end_with_the_queue(clock: Clock, play: Play) -> None:
    """Several runs are reconciled at the same time, one at a time each, until the queue closes."""
    stage = Stage(clock, workers=3)
    running, most = set(), 0

    async def reconcile(key: RunKey) -> None:
        nonlocal most
        assert key not in running
        running.add(key)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.discard(key)

    async def scene() -> Any:
        working = asyncio.create_task(stage.controller.work(reconcile))
        stage.queue.open()
        for _ in range(2):
            for name in "abcde":
                stage.queue.add(KEY._replace(name=name))
            await asyncio.sleep(0.5)
        await asyncio.sleep(10)
        stage.queue.close()
        await working

    play(scene())
    assert most == 3
    assert not running


def test_gauges_have_no_names_of_runs(stage: Stage) -> None:
    """The metrics count runs by kind and phase and never name them."""
    stage.controller.observe(RUNS, "ADDED", body(RUNS, "secret", status={"phase": "Running"}))
    stage.controller.measure()
    text = stage.telemetry.exposition().decode()
    assert 'autodidact_runs{kind="SelfRewardRun",phase="Running"} 1.0' in text
    assert "secret" not in text


def test_hindered_runs_are_counted_by_reason(stage: Stage) -> None:
    """A run that lacks something is counted under the reason it gives, and no longer afterwards."""
    said = {"conditions": [{"type": "Ready", "reason": "StoreUnavailable"}]}
    waiting = {"phase": "Running", "waitingSince": "2026-03-01T12:00:00+00:00", **said}
    for name, status in (("a", waiting), ("b", waiting), ("c", {"phase": "Running", **said})):
        stage.controller.observe(RUNS, "ADDED", body(RUNS, name, status=status))
    stage.controller.measure()
    line = 'autodidact_hindered_runs{kind="SelfRewardRun",reason="StoreUnavailable"} 2.0'
    assert line in stage.telemetry.exposition().decode()
    for name in ("a", "b"):
        stage.controller.observe(RUNS, "DELETED", body(RUNS, name))
    stage.controller.measure()
    assert "autodidact_hindered_runs{" not in stage.telemetry.exposition().decode()


def test_a_silent_watch_shows_its_age(stage: Stage, clock: Clock) -> None:
    """A watch's age is that of the last thing it received; a kind never watched ages too."""
    stage.watches.saw(PATH)
    clock.advance(50)
    stage.watches.saw("/api/v1/pods")
    ages = stage.watches.ages()
    assert (ages["jobs.batch"], ages["pods"], ages["computeprofiles.autodidact.dev"]) == (50, 0, 50)
