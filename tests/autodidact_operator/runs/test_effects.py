"""Carrying a decision out."""

import asyncio

import pytest

from autodidact_contract.api.status import RunStatus
from autodidact_contract.stages.report import Report
from autodidact_contract.task import RunRef, StageTask, Task
from autodidact_operator.plan.types import Decision, Event, JobRequest
from autodidact_operator.runs.effects import act


class Recorded:
    """Notes what is done, and fails at one of the calls if it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.done: list[str] = []
        self._fails = fails

    def _note(self, what: str) -> None:
        if what == self._fails:
            raise OSError(what)
        self.done.append(what)

    async def create(self, request: JobRequest) -> None:
        """Notes a creation."""
        self._note(f"create {request.job}")

    async def delete(self, name: str) -> None:
        """Notes a deletion."""
        self._note(f"delete {name}")

    async def write(self, status: RunStatus) -> None:
        """Notes a status."""
        self._note(f"write {status.phase}")

    def event(self, event: Event) -> None:
        """Notes an event."""
        self._note(f"event {event.reason}")


def decision() -> Decision:
    """One of everything."""
    ref = RunRef(kind="ReFTRun", namespace="team", name="a", uid="1")
    stage = StageTask(name="report", config=Report(title="a"))
    request = JobRequest(
        job="report",
        attempt=2,
        task=Task(run=ref, job="report", attempt=2, stages=(stage,)),
        profile="cpu",
        shards=1,
        training=False,
    )
    return Decision(
        status=RunStatus(phase="Running"),
        create=(request,),
        delete=("report-1",),
        events=(Event(type="Normal", reason="Retried", message="once more"),),
    )


def test_the_order_of_effects() -> None:
    """The old Job goes before the new one comes, the status follows, and events come last."""
    effects = Recorded()
    asyncio.run(act(decision(), effects))
    assert effects.done == ["delete report-1", "create report", "write Running", "event Retried"]


def test_nothing_follows_a_failed_effect() -> None:
    """A status never tells of a Job that could not be created, and no event of a lost status."""
    for fails, done in (("create report", 1), ("write Running", 2)):
        effects = Recorded(fails)
        with pytest.raises(OSError, match=fails):
            asyncio.run(act(decision(), effects))
        assert len(effects.done) == done
