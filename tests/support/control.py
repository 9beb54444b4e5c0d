"""Clocks, objects and an event loop for the tests of the controller."""

import asyncio
import itertools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from autodidact_contract.base import GROUP, VERSION
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import Body, Resource

RUNS = Resource(GROUP, VERSION, "selfrewardruns", "SelfRewardRun")
Play = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine on a clock that does not wait."""


class Clock:
    """Seconds that only pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Returns the seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class _PatientSelector(selectors.SelectSelector):
    """A selector that does not wait: the time it was asked to wait passes on the loop's clock."""

    clock: Clock

    def select(self, timeout: float | None = None) -> Any:
        """Returns what is ready, and lets time pass if nothing is."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("the test waits for something that never comes")
        if not ready and timeout:
            self.clock.advance(timeout)
        return ready


class _PatientLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self, clock: Clock) -> None:
        selector = _PatientSelector()
        selector.clock = clock
        super().__init__(selector)
        self._fake_clock = clock

    def time(self) -> float:
        return self._fake_clock.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def play(clock: Clock) -> Play:
    """Runs a coroutine in a loop whose time is the fixture `clock`'s and passes at once."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=lambda: _PatientLoop(clock)) as runner:
            return runner.run(coroutine)

    return run


class FakeKube:
    """Answers every verb with what was put there for it, or raises it."""

    def __init__(self) -> None:
        self.answers = {}
        self.calls = []

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((verb, arguments, options))
            answer = self.answers.get(verb)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture
def kube() -> FakeKube:
    """An API server that does what it is told."""
    return FakeKube()


_versions = itertools.count(1)


def body(
    resource: Resource, name: str, uid: str = "", version: int | None = None, **more: Any
) -> Body:
    """An object as the API server would send it; versions grow from call to call."""
    metadata = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(next(_versions) if version is None else version),
        "labels": more.pop("labels", {}),
        "managedFields": [{"manager": "somebody"}],
    }
    if resource.namespaced:
        metadata["namespace"] = more.pop("namespace", "research")
    return {"kind": resource.kind, "metadata": metadata, **more}


def of_run(name: str = "a", uid: str = "") -> dict[str, str]:
    """The labels of a Job or Pod of a run."""
    return {
        labels.RUN: name,
        labels.RUN_UID: uid or f"uid-{name}",
        labels.KIND: "selfrewardrun",
        labels.JOB: "judge-1",
        labels.ATTEMPT: "1",
    }
