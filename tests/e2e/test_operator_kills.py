"""The operator dies in the middle of runs: nothing is done twice and nothing is lost."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.waiting import eventually
from e2e import manifests
from e2e.house import House, Place, digests
from installation import DEPLOYMENT, SYSTEM, Installation

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


class changed:  # noqa: N801 - used as a function
    """Changes values of the release for a while."""

    def __init__(self, installed: Installation, **values: Any) -> None:
        self._installed = installed
        self._values = values

    def __enter__(self) -> None:
        self._upgrade({**self._installed.values, **self._values})

    def __exit__(self, *_: object) -> None:
        kept = {k: v for k, v in self._installed.values.items() if k not in self._values}
        self._upgrade(kept)

    def _upgrade(self, values: dict[str, Any]) -> None:
        self._installed.values = values
        self._installed.helm()
        rollout = ("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=60s")
        self._installed.cluster.kubectl("-n", SYSTEM, *rollout)


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


def test_a_restart_in_order_gives_the_lease_back(house: House, place: Place) -> None:
    """A rollout in the middle of a run is over in seconds, not after the lease's time."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    script = place.script(name)
    script.delays["train-sft"] = 3
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in script.seen)
    restart = ("-n", SYSTEM, "rollout")
    house.cluster.kubectl(*restart, "restart", f"deployment/{DEPLOYMENT}")
    house.cluster.kubectl(*restart, "status", f"deployment/{DEPLOYMENT}", "--timeout=60s")
    assert place.until_ended(name, 30)["phase"] == "Succeeded"
    assert set(place.created_jobs().values()) == {1}


def test_a_standby_takes_over(house: House, place: Place) -> None:
    """A leader that hangs loses the lease to a standby and steps down when it is awake again."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    script = place.script(name)
    script.delays["train-sft"] = 2
    leader = house.operator()
    assert leader is not None
    holder = _holder(house)
    environment = {
        **leader.environ(),
        "AUTODIDACT_PORT": "0",
        "AUTODIDACT_POD_NAME": "standby",
    }
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in script.seen)
    log = (house.cluster.directory / "standby.log").open("wb")
    standby = subprocess.Popen(
        [sys.executable, "-m", "autodidact_operator"],
        env=environment,
        cwd=leader.cwd(),
        stdout=log,
        stderr=log,
    )
    try:
        leader.suspend()
        assert _holder(house) == holder
        eventually(lambda: re.match("standby_", _holder(house)), 40)
        assert place.until_ended(name)["phase"] == "Succeeded"
        leader.resume()
        leader.wait(30)  # It steps down, and its pod starts it again.
    finally:
        if leader.is_running():
            leader.resume()
        standby.terminate()
        standby.wait(20)
        log.close()
    eventually(lambda: _holder(house) and not _holder(house).startswith("standby"), 60)
    house.until_operating()
    assert set(place.created_jobs().values()) == {1}


def _holder(house: House) -> str:
    lease = house.cluster.get("lease", DEPLOYMENT, SYSTEM)
    return str(lease["spec"].get("holderIdentity") or "")
