"""An operator that serves some namespaces only, with rights in no others."""

import pytest

from support import manifests
from support.deployed import House, changed, message
from support.rights import asked


@pytest.fixture
def names() -> list[str]:
    """Namespaces that are served, and then one that is not."""
    return ["served-a", "served-b", "not-served"]


def test_only_the_namespaces_that_are_served(house: House, names: list[str]) -> None:
    """Runs in two namespaces Succeed by Roles there, a run in a third stays as it is."""
    *served, other = [house.place(name) for name in names]
    with changed(house.installed, watch={"namespaces": [place.namespace for place in served]}):
        before = asked(house.cluster, "forbid")
        left = other.apply(manifests.scripted(other.namespace))
        for place in served:
            status = place.until_ended(place.apply(manifests.scripted(place.namespace)))
            assert status["phase"] == "Succeeded", message(status)
        assert "startedAt" not in other.status(left)
        assert asked(house.cluster, "forbid") == before
        roles = house.cluster.get("rolebindings", namespace=other.namespace)["items"]
        assert not [role for role in roles if "autodidact" in role["metadata"]["name"]]
    # Served again, it is not forgotten.
    assert other.until_ended(left)["phase"] == "Succeeded"
    for name in names:
        house.cluster.kubectl("delete", "namespace", name, "--wait=false")
