"""A queue of keys: each key waits at most once, and one worker at a time works on it.

To add a key that waits does nothing. To add a key that is being worked on makes it run once more
afterwards. So a burst of events costs one reconcile, and an event during a reconcile is not missed.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 60.0
_BACKOFF_DOUBLINGS = 16  # Enough to reach the maximum; keeps the power small.


class WorkQueue(Generic[KeyT]):
    """The queue. It is not thread-safe: use it from one event loop only.

    Args:
        clock: Monotonic seconds, in the event loop's time.
        noise: Uniform numbers in [0, 1), for the jitter.
    """

    def __init__(
        self, clock: Callable[[], float], noise: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._noise = noise
        self._ready: dict[KeyT, float] = {}  # Since when it waits; in order of arrival.
        self._running: dict[KeyT, float] = {}  # Since when it runs.
        self._again: set[KeyT] = set()
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []  # May hold times that are no longer due.
        self._sequence = 0  # Makes heap entries comparable.
        self._failures: dict[KeyT, int] = {}
        self._open = False
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether workers may take keys."""
        return self._open and not self._closed

    def open(self) -> None:
        """Let workers take keys; ages count from here."""
        now = self._clock()
        self._ready = dict.fromkeys(self._ready, now)
        self._open = True
        self._changed.set()

    def close(self) -> None:
        """Hand out nothing any more; every `get` ends with None."""
        self._closed = True
        self._changed.set()

    def add(self, key: KeyT) -> None:
        """Have a key worked on as soon as possible."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = self._clock()
            self._changed.set()

    def add_at(self, key: KeyT, when: float) -> None:
        """Have a key worked on at a time of the clock, or earlier if it is already due earlier.

        The next time the key is worked on clears this, whatever the cause.
        """
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            self._sequence += 1
            heapq.heappush(self._heap, (when, self._sequence, key))
            if len(self._heap) > 2 * len(self._due) + 64:
                self._compact()
            self._changed.set()

    def retry(self, key: KeyT, at_least: float = 0.0) -> float:
        """Have a key worked on after its back-off; returns the seconds until then."""
        failures = self._failures.get(key, 0)
        self._failures[key] = min(failures + 1, _BACKOFF_DOUBLINGS)
        ceiling = min(BACKOFF_BASE_S * 2.0**failures, BACKOFF_MAX_S)
        delay = max(ceiling * (0.5 + self._noise() / 2), at_least)
        self.add_at(key, self._clock() + delay)
        return delay

    def forget(self, key: KeyT) -> None:
        """End a key's back-off: its next failure counts as the first."""
        self._failures.pop(key, None)

    def pop(self) -> KeyT | None:
        """Returns the key that waits longest and marks it as being worked on, or None."""
        if not self._open or self._closed:
            return None
        self._promote()
        if not self._ready:
            return None
        key = next(iter(self._ready))
        del self._ready[key]
        self._due.pop(key, None)
        self._running[key] = self._clock()
        return key

    async def get(self) -> KeyT | None:
        """Returns the next key once there is one, or None when the queue is closed."""
        while not self._closed:
            self._changed.clear()
            key = self.pop()
            if key is not None:
                self._changed.set()  # Another worker looks for what is left.
                return key
            await self._wait()
        return None

    def done(self, key: KeyT) -> None:
        """Say that a key taken from the queue is no longer worked on."""
        self._running.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def running(self) -> int:
        """Keys being worked on."""
        return len(self._running)

    def oldest_age(self) -> float:
        """Returns the seconds that the slowest key has been waiting or running; 0 while closed."""
        if not self._open:
            return 0.0
        self._promote()
        waiting = next(iter(self._ready.values()), None)
        since = [*self._running.values(), *([] if waiting is None else [waiting])]
        return self._clock() - min(since) if since else 0.0

    def next_due(self) -> float | None:
        """Returns the earliest time at which a delayed key becomes ready, or None."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _compact(self) -> None:
        """Drop superseded times, which would otherwise stay until they come."""
        self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
        heapq.heapify(self._heap)

    def _promote(self) -> None:
        """Make delayed keys ready whose time has come."""
        now = self._clock()
        while (when := self.next_due()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            self.add(key)

    async def _wait(self) -> None:
        due = self.next_due() if self._open else None
        try:
            async with asyncio.timeout(None if due is None else max(due - self._clock(), 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return
