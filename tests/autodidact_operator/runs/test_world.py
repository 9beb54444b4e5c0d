import asyncio
from typing import Any

import pytest

from autodidact_operator.cluster.resources import JOBS
from autodidact_operator.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
)
from autodidact_operator.runs.world import World
from support.control import RUNS, Body, Clock, FakeKube, body, of_run
from support.worlds import KEY


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
