"""The release is upgraded while runs are at work."""

import threading

from autodidact_operator import labels
from cluster.waiting import eventually
from e2e import manifests
from e2e.house import House, Place, changed


def test_an_upgrade_restarts_no_stage(house: House, place: Place) -> None:
    """Another operator with other settings takes over: the stage at work goes on, none is repeated."""
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

    with changed(house.installed, podAnnotations={"example.com/upgraded": "true"}):
        assert house.operator() != operator
        assert set(pods.split()) <= set(place.kubectl("get", "pods", "-o", "name").split())
        upgraded.set()
        for name in (first, second):
            assert place.until_ended(name)["phase"] == "Succeeded"
    for name in (first, second):
        created = place.created_jobs(place.uid(name))
        assert set(created.values()) == {1}
        assert all(job.endswith("-1") for job in created), created
