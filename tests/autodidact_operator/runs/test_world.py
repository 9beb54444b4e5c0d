import asyncio
from typing import Any

import pytest

from autodidact_operator.cluster import events
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.events import Recorder
from autodidact_operator.cluster.resources import JOBS, RunKey
from autodidact_operator.errors import (
    AlreadyExistsError,
    ApiUnavailableError,
    ConflictError,
    NotFoundError,
)
from autodidact_operator.progress import ProgressBook
from autodidact_operator.runs.world import World
from autodidact_operator.telemetry import Telemetry
from support.control import RUNS, Body, Clock, FakeKube, body, of_run

KEY = RunKey("SelfRewardRun", "research", "a")


@pytest.fixture
def recorder(kube: FakeKube, clock: Clock) -> Recorder:
    """Posts to the fake API server."""
    return Recorder(kube, Telemetry(), "me", clock)


@pytest.fixture
def world(kube: FakeKube, recorder: Recorder, clock: Clock) -> World:
    """A world with one run."""
    cache = Cache([RUNS])
    cache.apply(RUNS, "ADDED", body(RUNS, "a", status={"phase": "Running"}))
    return World(
        kube=kube,
        cache=cache,
        runs=[RUNS],
        book=ProgressBook(),
        recorder=recorder,
        telemetry=Telemetry(),
        store=None,
        clock=clock,
    )


@pytest.fixture
def run(world: World) -> Body:
    """The run's object."""
    return world.snapshot(KEY).run


def job(owner: str = "uid-a") -> Body:
    """A Job with an owner."""
    made = body(JOBS, "job", labels=of_run())
    made["metadata"]["ownerReferences"] = [{"uid": owner, "controller": True}]
    return made


def test_a_created_job_is_seen_by_the_next_decision(
    world: World, kube: FakeKube, run: Body
) -> None:
    """The answer to a create is in the next snapshot."""
    kube.answers["create"] = job()
    asyncio.run(world.create_job(run, job()))
    assert len(world.snapshot(KEY).jobs) == 1


def test_a_job_that_is_there_already_counts_as_created(
    world: World, kube: FakeKube, run: Body
) -> None:
    """A create that was done before, and whose answer was lost, is a success."""
    kube.answers = {"create": AlreadyExistsError("there"), "get": job()}
    asyncio.run(world.create_job(run, job()))
    assert len(world.snapshot(KEY).jobs) == 1


def test_somebody_elses_job_is_a_conflict(world: World, kube: FakeKube, run: Body) -> None:
    """A Job of the same name with another owner is not taken over."""
    kube.answers = {"create": AlreadyExistsError("there"), "get": job(owner="somebody")}
    with pytest.raises(ConflictError, match="does not belong to SelfRewardRun a"):
        asyncio.run(world.create_job(run, job()))


def test_the_gap_is_measured_from_the_pods_end(
    world: World, kube: FakeKube, run: Body, clock: Clock
) -> None:
    """Creating a Job after a pod ended observes the time between, once."""
    kube.answers["create"] = job()
    world.pod_ended("uid-a")
    clock.advance(0.015)
    for _ in range(2):
        asyncio.run(world.create_job(run, job()))
    text = world.telemetry.exposition().decode()
    assert "autodidact_gap_seconds_count 1.0" in text
    assert 'autodidact_gap_seconds_bucket{le="0.02"} 1.0' in text


@pytest.mark.parametrize("answer", [{"kind": "Status"}, NotFoundError("x"), ConflictError("x")])
def test_a_deleted_job_is_gone_for_the_next_decision(
    world: World, kube: FakeKube, run: Body, answer: Any
) -> None:
    """A delete by UID that succeeds, or finds nothing to delete, removes the Job from sight."""
    kube.answers["create"] = job()
    made = asyncio.run(world.create_job(run, job()))
    kube.answers["delete"] = answer
    asyncio.run(world.delete_job(made))
    assert world.snapshot(KEY).jobs == ()
    assert kube.calls[-1][2] == {"uid": "uid-job"}


def test_an_equal_status_is_not_written(world: World, kube: FakeKube, run: Body) -> None:
    """A reconcile without news makes no request."""
    assert asyncio.run(world.write_status(run, {"phase": "Running"}))
    assert kube.calls == []


def test_a_written_status_is_seen_by_the_next_decision(
    world: World, kube: FakeKube, run: Body
) -> None:
    """The answer to a status write is in the next snapshot."""
    kube.answers["patch_status"] = body(RUNS, "a", status={"phase": "Succeeded"})
    assert asyncio.run(world.write_status(run, {"phase": "Succeeded"}))
    assert world.snapshot(KEY).run["status"] == {"phase": "Succeeded"}


def test_a_run_that_is_gone_takes_no_status(world: World, kube: FakeKube, run: Body) -> None:
    """Writing the status of a deleted run is no error and changes nothing."""
    kube.answers["patch_status"] = NotFoundError("gone")
    assert not asyncio.run(world.write_status(run, {"phase": "Succeeded"}))


def test_runs_that_are_gone_are_forgotten(world: World) -> None:
    """Everything kept per run is dropped with the run."""
    world.pod_ended("uid-b")
    asked = []
    world.keepers.append(asked.append)
    world.keep(["uid-a"])
    assert world._terminal == {}
    assert asked == [{"uid-a"}]


def test_an_event_is_posted_about_the_run(kube: FakeKube, recorder: Recorder, run: Body) -> None:
    """An Event names the run, the reason and who says so."""
    recorder.record(run, "Normal", "StageStarted", "judge-1")
    asyncio.run(recorder.post_next())
    event = kube.calls[0][1][2]
    assert event["involvedObject"]["uid"] == "uid-a"
    assert (event["type"], event["reason"], event["message"]) == (
        "Normal",
        "StageStarted",
        "judge-1",
    )
    assert event["metadata"]["namespace"] == "research"


def test_a_repeated_event_is_posted_once_in_ten_minutes(
    recorder: Recorder, run: Body, clock: Clock
) -> None:
    """The same reason and message of the same run are told again only after a while."""
    assert recorder.record(run, "Normal", "A", "text")
    assert not recorder.record(run, "Normal", "A", "text")
    assert recorder.record(run, "Normal", "A", "other text")
    clock.advance(events.REPEAT_AFTER_S)
    assert recorder.record(run, "Normal", "A", "text")


def test_an_event_that_cannot_be_posted_is_dropped(
    kube: FakeKube, recorder: Recorder, run: Body
) -> None:
    """A failing API server costs an Event and nothing else."""
    kube.answers["create"] = ApiUnavailableError("away")
    recorder.record(run, "Warning", "A", "text")
    asyncio.run(recorder.post_next())


def test_too_many_events_are_dropped(recorder: Recorder, run: Body) -> None:
    """When too many wait, further ones are dropped instead of filling the memory."""
    told = [recorder.record(run, "Normal", f"A{n}", "text") for n in range(events.WAITING + 5)]
    assert told.count(False) == 5


def test_what_is_told_at_once_for_one_reason_is_one_event(
    kube: FakeKube, recorder: Recorder, run: Body
) -> None:
    """The stages of one Job are done together and take one write; what comes later, another."""
    recorder.record(run, "Normal", "StageDone", "judge-1")
    recorder.record(run, "Normal", "StageDone", "build-pairs-1")
    asyncio.run(recorder.post_next())
    recorder.record(run, "Normal", "StageDone", "train-dpo-1")
    asyncio.run(recorder.post_next())
    messages = [call[1][2]["message"] for call in kube.calls]
    assert messages == ["judge-1; build-pairs-1", "train-dpo-1"]


def test_a_long_message_is_cut(kube: FakeKube, recorder: Recorder, run: Body) -> None:
    """A message is cut to what the API server accepts."""
    recorder.record(run, "Normal", "A", "x" * 5000)
    asyncio.run(recorder.post_next())
    assert len(kube.calls[0][1][2]["message"]) == events.MAX_MESSAGE
