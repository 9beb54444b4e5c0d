import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autodidact_operator.cluster.lease import DURATION_S, Elector, Record
from autodidact_operator.errors import ApiUnavailableError, ConflictError, LeaseLostError
from support.control import Clock, Play


class FakeStore:
    """A lease in memory that refuses writes to old versions; may be cut off."""

    def __init__(self) -> None:
        self.record = None
        self.writes = 0
        self.cut_off = False

    async def read(self) -> Record | None:
        """Returns the lease."""
        self._check()
        return self.record

    async def write(self, record: Record) -> Record:
        """Keep the lease, if it is of the current version."""
        self._check()
        current = self.record.version if self.record else ""
        if record.version != current:
            raise ConflictError("somebody else was faster")
        self.writes += 1
        self.record = replace(record, version=str(self.writes))
        return self.record

    def _check(self) -> None:
        if self.cut_off:
            raise ApiUnavailableError("cut off")


@pytest.fixture
def store() -> FakeStore:
    """A lease that does not exist yet."""
    return FakeStore()


@pytest.fixture
def candidate(store: FakeStore, clock: Clock) -> Callable[[str], Elector]:
    """Makes candidates for the lease, without jitter."""

    def make(name: str) -> Elector:
        return Elector(store, name, address=f"http://{name}", clock=clock, noise=lambda: 0.0)

    return make


def test_the_first_candidate_gets_the_lease(
    store: FakeStore, candidate: Callable[[str], Elector], play: Play
) -> None:
    """A lease that does not exist is created."""
    play(candidate("a").acquire())
    assert (store.record.holder, store.record.transitions) == ("a", 0)


def test_a_leader_renews(store: FakeStore, candidate: Callable[[str], Elector], play: Play) -> None:
    """While it leads, a candidate writes the lease every two seconds."""

    async def scene() -> Any:
        elector = candidate("a")
        await elector.acquire()
        holding = asyncio.create_task(elector.hold())
        await asyncio.sleep(60)
        holding.cancel()

    play(scene())
    assert store.writes == pytest.approx(30, abs=2)
    assert store.record.transitions == 0


def test_a_second_candidate_waits_until_the_lease_runs_out(
    store: FakeStore, candidate: Callable[[str], Elector], clock: Clock, play: Play
) -> None:
    """A dead leader's lease is taken once it was not seen to change for its duration."""
    play(candidate("dead").acquire())
    began = clock()
    play(candidate("b").acquire())
    assert DURATION_S <= clock() - began <= DURATION_S + 2.1
    assert (store.record.holder, store.record.transitions) == ("b", 1)


def test_clocks_are_not_compared(
    store: FakeStore, candidate: Callable[[str], Elector], clock: Clock, play: Play
) -> None:
    """A lease with a time from the future is taken like any other."""
    play(candidate("dead").acquire())
    renewed = store.record.renewed
    store.record = replace(store.record, renewed=renewed.replace(year=renewed.year + 10))
    began = clock()
    play(candidate("b").acquire())
    assert clock() - began <= DURATION_S + 2.1


def test_a_released_lease_is_taken_at_the_next_try(
    candidate: Callable[[str], Elector], clock: Clock, play: Play
) -> None:
    """After a release nobody waits for the end of the lease."""

    async def scene() -> Any:
        first, second = candidate("a"), candidate("b")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(1)
        await first.release()
        began = clock()
        await waiting
        return clock() - began, first.leading, second.leading

    waited, first_leads, second_leads = play(scene())
    assert waited <= 2.1
    assert (first_leads, second_leads) == (False, True)


def test_of_two_only_one_gets_it(candidate: Callable[[str], Elector], play: Play) -> None:
    """Two candidates at the same moment: the version lets one of them through."""

    async def scene() -> Any:
        electors = [candidate("a"), candidate("b")]
        async with asyncio.timeout(1):
            await asyncio.wait(
                [asyncio.create_task(e.acquire()) for e in electors],
                return_when=asyncio.FIRST_COMPLETED,
            )
        return [e.leading for e in electors]

    assert sorted(play(scene())) == [False, True]


def test_a_leader_that_is_cut_off_gives_up_before_the_lease_runs_out(
    store: FakeStore, candidate: Callable[[str], Elector], clock: Clock, play: Play
) -> None:
    """A leader that cannot renew ends within ten seconds or so, while its lease still holds."""

    async def scene() -> Any:
        elector = candidate("a")
        await elector.acquire()
        store.cut_off = True
        await elector.hold()

    began = clock()
    with pytest.raises(LeaseLostError):
        play(scene())
    assert clock() - began < DURATION_S


def test_a_short_interruption_is_survived(
    store: FakeStore, candidate: Callable[[str], Elector], play: Play
) -> None:
    """A leader that is cut off for a few seconds goes on."""

    async def scene() -> Any:
        elector = candidate("a")
        await elector.acquire()
        holding = asyncio.create_task(elector.hold())
        store.cut_off = True
        await asyncio.sleep(6)
        store.cut_off = False
        await asyncio.sleep(30)
        assert not holding.done()
        holding.cancel()

    play(scene())


def test_a_leader_that_was_replaced_ends_at_once(
    store: FakeStore, candidate: Callable[[str], Elector], clock: Clock, play: Play
) -> None:
    """A leader that reads another holder's name does not wait for any deadline."""

    async def scene() -> Any:
        elector = candidate("a")
        await elector.acquire()
        store.record = replace(store.record, holder="b", version="77")
        await elector.hold()

    began = clock()
    with pytest.raises(LeaseLostError):
        play(scene())
    assert clock() - began <= 2.1


def test_a_standby_knows_where_the_leader_is(
    candidate: Callable[[str], Elector], play: Play
) -> None:
    """The holder's address can be read from the lease."""

    async def scene() -> Any:
        await candidate("a").acquire()
        standby = candidate("b")
        waiting = asyncio.create_task(standby.acquire())
        await asyncio.sleep(3)
        waiting.cancel()
        return standby.leader_address

    assert play(scene()) == "http://a"


def test_releasing_what_one_does_not_hold_writes_nothing(
    store: FakeStore, candidate: Callable[[str], Elector], play: Play
) -> None:
    """A standby's release leaves the lease alone."""
    play(candidate("a").acquire())
    play(candidate("b").release())
    assert store.record == Record(**vars(store.record) | {"holder": "a"})
