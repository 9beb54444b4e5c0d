"""Waiting for something to come true, in tests and commands."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")
_INTERVAL_S = 0.05


def eventually(condition: Callable[[], _T], timeout_s: float = 30.0) -> _T:
    """Return the first true value that a condition gives.

    Raises:
        TimeoutError: If it gives none in time; the message holds the last one.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {timeout_s} s: {value!r}")
        time.sleep(_INTERVAL_S)
    return value


async def eventually_async(condition: Callable[[], Awaitable[_T]], timeout_s: float = 30.0) -> _T:
    """Return the first true value that an asynchronous condition gives, like `eventually`."""
    async with asyncio.timeout(timeout_s):
        # What is awaited is elsewhere and sets no event here.
        while not (value := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(_INTERVAL_S)
    return value
