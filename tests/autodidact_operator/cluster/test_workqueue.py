import asyncio
from typing import Any

import pytest

from autodidact_operator.cluster.workqueue import BACKOFF_MAX_S, WorkQueue
from support.control import Clock, Play


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    """An open queue without jitter: delays are as long as they can be."""
    made = WorkQueue[str](clock, noise=lambda: 1.0)
    made.open()
    return made


def test_a_key_waits_only_once(queue: WorkQueue[str]) -> None:
    """Adding a key that waits already changes nothing."""
    queue.add("a")
    queue.add("a")
    assert [queue.pop(), queue.pop()] == ["a", None]


def test_keys_come_in_the_order_of_their_arrival(queue: WorkQueue[str]) -> None:
    """The key that waits longest comes first."""
    for key in ("b", "a", "c"):
        queue.add(key)
    assert [queue.pop() for _ in range(3)] == ["b", "a", "c"]


def test_a_running_key_is_not_handed_out_twice(queue: WorkQueue[str]) -> None:
    """A key added while it runs waits until it is done, and then runs once more."""
    queue.add("a")
    queue.pop()
    queue.add("a")
    assert queue.pop() is None
    queue.done("a")
    assert queue.pop() == "a"
    queue.done("a")
    assert queue.pop() is None


def test_a_closed_door_hands_out_nothing(clock: Clock) -> None:
    """Before it is opened, a queue collects keys and keeps them."""
    queue = WorkQueue[str](clock)
    queue.add("a")
    assert queue.pop() is None
    queue.open()
    assert queue.pop() == "a"


def test_a_delayed_key_waits_for_its_time(queue: WorkQueue[str], clock: Clock) -> None:
    """A key added for later is handed out at that time and not before."""
    queue.add_at("a", clock() + 5)
    assert queue.pop() is None
    clock.advance(5)
    assert queue.pop() == "a"


def test_the_earliest_of_several_times_counts(queue: WorkQueue[str], clock: Clock) -> None:
    """A key with several times is handed out once, at the earliest."""
    for delay in (9, 3, 6):
        queue.add_at("a", clock() + delay)
    assert queue.next_due() == clock() + 3
    clock.advance(10)
    assert [queue.pop(), queue.pop()] == ["a", None]


def test_running_clears_what_was_planned(queue: WorkQueue[str], clock: Clock) -> None:
    """A key that runs early does not run again at the time planned before."""
    queue.add_at("a", clock() + 5)
    queue.add("a")
    queue.pop()
    queue.done("a")
    clock.advance(10)
    assert queue.pop() is None


def test_superseded_times_do_not_pile_up(queue: WorkQueue[str], clock: Clock) -> None:
    """Planning far ahead again and again keeps a bounded number of entries."""
    for number in range(1000):
        queue.add_at("a", clock() + 10_000 - number)
    assert len(queue._heap) < 100
    assert queue.next_due() == clock() + 10_000 - 999


def test_back_off_doubles_up_to_its_limit(queue: WorkQueue[str]) -> None:
    """Each failure doubles the wait, up to the longest."""
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == BACKOFF_MAX_S


def test_forgetting_ends_the_back_off(queue: WorkQueue[str]) -> None:
    """After a success the next failure waits as if it were the first."""
    for _ in range(5):
        queue.retry("a")
    queue.forget("a")
    assert queue.retry("a") == 0.25


def test_back_off_has_jitter(clock: Clock) -> None:
    """The wait lies between half of it and all of it."""
    queue = WorkQueue[str](clock, noise=lambda: 0.0)
    assert queue.retry("a") == 0.125


def test_back_off_respects_what_the_server_asks_for(queue: WorkQueue[str]) -> None:
    """A server that asks for more patience gets it."""
    assert queue.retry("a", at_least=7.0) == 7.0


def test_age_is_that_of_the_slowest(queue: WorkQueue[str], clock: Clock) -> None:
    """The age counts waiting and running keys alike."""
    queue.add("a")
    clock.advance(3)
    queue.add("b")
    assert queue.oldest_age() == 3
    queue.pop()
    clock.advance(4)
    assert queue.oldest_age() == 4
    queue.pop()
    queue.done("a")
    queue.done("b")
    assert queue.oldest_age() == 0


def test_a_standby_does_not_age(clock: Clock) -> None:
    """What waits before the queue is opened is not late, nor just after."""
    queue = WorkQueue[str](clock)
    queue.add("a")
    clock.advance(1000)
    assert queue.oldest_age() == 0
    queue.open()
    assert queue.oldest_age() == 0


def test_get_wakes_for_what_is_due(queue: WorkQueue[str], clock: Clock, play: Play) -> None:
    """A worker that waits gets a delayed key at its time."""
    queue.add_at("a", clock() + 30)
    assert play(queue.get()) == "a"
    assert clock() == pytest.approx(1030)


def test_get_wakes_for_what_is_added(queue: WorkQueue[str], play: Play) -> None:
    """Workers that wait get the keys that are added meanwhile, one each."""

    async def scene() -> Any:
        workers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        for key in ("a", "b", "c"):
            queue.add(key)
        return await asyncio.gather(*workers)

    assert sorted(play(scene())) == ["a", "b", "c"]


def test_closing_ends_the_workers(queue: WorkQueue[str], play: Play) -> None:
    """A closed queue answers None to all who wait and will wait."""

    async def scene() -> Any:
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.close()
        return await waiting, await queue.get()

    assert play(scene()) == (None, None)
