"""What the operator may do, and what it did, as the API server's audit log has it."""

from collections import Counter

from cluster import audit
from e2e import manifests
from e2e.conftest import refused
from e2e.house import ACCOUNT, House, Place

Asked = tuple[str, str, str]


def _asked(house: House) -> Counter[Asked]:
    """Returns how often the operator asked for what: verb, group and resource."""
    return Counter(
        (
            entry["verb"],
            entry["objectRef"].get("apiGroup", ""),
            "/".join(
                entry["objectRef"][part]
                for part in ("resource", "subresource")
                if part in entry["objectRef"]
            ),
        )
        for entry in audit.read(house.cluster.audit_log)
        if entry["user"]["username"] == ACCOUNT
    )


def test_the_operator_asks_for_what_it_may(house: House, place: Place) -> None:
    """After a run nothing was refused, no Secret was read, and no run was written but its status."""
    name = place.apply(manifests.scripted(place.namespace))
    place.until_ended(name)
    assert not refused(house.cluster)
    asked = _asked(house)
    assert asked["create", "batch", "jobs"]
    assert not [what for what in asked if what[2].partition("/")[0] == "secrets"]
    writes = {what for what in asked if what[0] not in ("get", "list", "watch")}
    assert {what for what in writes if what[1] == "autodidact.dev"} == {
        ("patch", "autodidact.dev", "selfrewardruns/status")
    }
