"""One of several operators leads: the lease is given back in order, and lost by who hangs."""

from support import manifests
from support.deployed import House, Place, another
from tools.cluster.waiting import eventually
from tools.installation import DEPLOYMENT, SYSTEM


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
    place.apply(body)
    eventually(lambda: ("train-sft", 1) in script.seen)
    with another(house):
        try:
            leader.suspend()
            eventually(lambda: _holder(house).startswith("standby_"), 40)
            assert place.until_ended(name)["phase"] == "Succeeded"
            leader.resume()
            leader.wait(30)  # It steps down, and its pod starts it again.
        finally:
            if leader.is_running():
                leader.resume()
    eventually(lambda: _holder(house) and not _holder(house).startswith("standby_"), 60)
    house.until_operating()
    assert set(place.created_jobs().values()) == {1}


def _holder(house: House) -> str:
    lease = house.cluster.get("lease", DEPLOYMENT, SYSTEM)
    return str(lease["spec"].get("holderIdentity") or "")
