"""The operator dies in the middle of runs: nothing is done twice and nothing is lost."""

from collections.abc import Iterator

import pytest

from support import manifests
from support.deployed import House, Place, another, changed, digests

JOBS = (
    "import",
    "train-sft",
    "evaluate-0",
    "sample-1",
    "build-pairs-1",
    "train-dpo-1",
    "evaluate-1",
    "report",
)


@pytest.fixture(scope="module")
def alone(house: House) -> Iterator[House]:
    """The operator without leader election: it leads again as soon as it is back."""
    with changed(house.installed, leaderElection=False):
        yield house


@pytest.mark.parametrize("moment", ["at work", "published"])
def test_the_operator_is_killed_in_every_stage(alone: House, place: Place, moment: str) -> None:
    """Killed once per job, while it works or when it has published: each Job is created once."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    script = place.script(name)
    hooks = script.before if moment == "at work" else script.after
    for job in JOBS:
        hooks[job, 1] = alone.kill_operator
    place.apply(body)
    assert place.until_ended(name, 150)["phase"] == "Succeeded"
    uid = place.run(name)["metadata"]["uid"]
    created = place.created_jobs(uid)
    assert set(created.values()) == {1}
    assert len(created) == len(JOBS)
    assert digests(place.record(uid)) == undisturbed(place, body)


def undisturbed(place: Place, body: manifests.Body) -> dict[str, str]:
    """Returns the digests of the same run where nothing happens to it."""
    quiet = place.house.place(f"{place.namespace}-quiet")
    body["metadata"]["namespace"] = quiet.namespace
    name = quiet.apply(body)
    assert quiet.until_ended(name)["phase"] == "Succeeded"
    found = digests(quiet.record(quiet.run(name)["metadata"]["uid"]))
    quiet.kubectl("delete", "namespace", quiet.namespace, "--wait=false")
    return found


def test_two_leaders_do_nothing_twice(alone: House, place: Place) -> None:
    """Two operators that both lead create each Job once, and the artifacts are the same."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    with another(alone):
        place.apply(body)
        assert place.until_ended(name)["phase"] == "Succeeded"
    uid = place.run(name)["metadata"]["uid"]
    created = place.created_jobs(uid)
    assert set(created.values()) == {1}
    assert len(created) == len(JOBS)
    assert digests(place.record(uid)) == undisturbed(place, body)
