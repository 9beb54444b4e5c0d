"""What the operator may do, and what it did, as the API server's audit log has it."""

from support import manifests
from support.deployed import House, Place
from support.rights import asked, missing


def test_the_operator_asks_for_what_it_may(house: House, place: Place) -> None:
    """After runs nothing was refused, no Secret was read, and of runs only status was written."""
    place.until_ended(place.apply(manifests.scripted(place.namespace)))
    reft = place.of("reft")
    reft.until_ended(reft.apply(manifests.scripted_reft(place.namespace, "reft")))
    assert not missing(house.cluster)
    granted = asked(house.cluster, "allow")
    assert granted["create", "batch", "jobs"]
    # A server-side apply of what is not there yet counts as a patch.
    assert {what for what in granted if what[2].partition("/")[0] == "secrets"} == {
        ("patch", "", "secrets")
    }
    writes = {what for what in granted if what[0] not in ("get", "list", "watch")}
    assert {what for what in writes if what[1] == "autodidact.dev"} == {
        ("patch", "autodidact.dev", "selfrewardruns/status"),
        ("patch", "autodidact.dev", "reftruns/status"),
    }
