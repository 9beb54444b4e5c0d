"""The release is upgraded while runs are at work."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autodidact_operator.cluster import labels
from support import manifests
from support.deployed import House, Place, changed
from tools.cluster.waiting import eventually
from tools.installation import previous_chart
from tools.paths import CHART

pytestmark = pytest.mark.thorough


@pytest.fixture
def previously(house: House, tmp_path: Path) -> Iterator[None]:
    """The release as an older chart made it, whose definitions know less."""
    with changed(house.installed, previous_chart(tmp_path / "previous")):
        yield


@pytest.mark.usefixtures("previously")
def test_an_upgrade_restarts_no_stage(house: House, place: Place) -> None:
    """Chart, definitions and operator are new: the stage at work goes on, and none is repeated."""
    first, second = (
        place.apply(manifests.scripted(place.namespace, name, seed=seed))
        for name, seed in (("working", 700), ("publishing", 701))
    )
    upgraded = threading.Event()
    # One stage is at work during the upgrade, the other ends while there is no operator.
    place.script(first).before["train-sft", 1] = upgraded.wait
    seen = [place.script(first).seen, place.script(second).seen]
    eventually(lambda: ("train-sft", 1) in seen[0] and seen[1])
    operator = house.operator()
    pods = place.kubectl("get", "pods", "-l", f"{labels.JOB}=train-sft", "-o", "name")

    with changed(house.installed, CHART, podAnnotations={"example.com/upgraded": "true"}):
        assert house.operator() != operator
        assert set(pods.split()) <= set(place.kubectl("get", "pods", "-o", "name").split())
        upgraded.set()
        for name in (first, second):
            assert place.until_ended(name)["phase"] == "Succeeded"
        # A field of the new definitions.
        place.edit(first, ttlSecondsAfterFinished=3600)
        assert place.run(first)["spec"]["ttlSecondsAfterFinished"] == 3600
    for name in (first, second):
        created = place.created_jobs(place.uid(name))
        assert set(created.values()) == {1}
        assert all(job.endswith("-1") for job in created), created
