"""Without STS the store's credentials are a Secret that people put into each namespace."""

from collections.abc import Iterator

import pytest

from support import manifests
from support.deployed import ACCOUNT, House, Place, changed, message, why
from tools.cluster.waiting import eventually


@pytest.fixture(scope="module", autouse=True)
def _plain(house: House) -> Iterator[None]:
    """The release without STS."""
    with changed(house.installed, store={}):
        yield


def test_a_namespace_with_the_secret_is_all_it_takes(house: House, place: Place) -> None:
    """A real run Succeeds, no Job has a Secret of its own, the operator may not touch any."""
    house.installed.give_store(place.namespace)
    name = place.apply(manifests.tiny(place.namespace))
    status = place.until_ended(name, 500)
    assert status["phase"] == "Succeeded", status["conditions"]
    assert place.kubectl("get", "secrets", "-o", "name").split() == ["secret/autodidact-store"]
    may = place.kubectl("auth", "can-i", "--list", f"--as={ACCOUNT}")
    assert "jobs.batch" in may
    assert "secrets" not in may


def test_a_namespace_without_the_secret_says_so(place: Place) -> None:
    """A missing Secret is named on the run before startDeadlineSeconds fails it."""
    name = place.apply(manifests.tiny(place.namespace, startDeadlineSeconds=8, backoffLimit=0))
    place.until(name, lambda s: "autodidact-store" in message(s), 30)
    status = place.until_ended(name, 30)
    assert status["phase"] == "Failed"
    assert "autodidact-store" in message(status)
    eventually(lambda: not place.active_jobs(name))


def test_a_secret_with_a_wrong_key_says_so(house: House, place: Place) -> None:
    """The run fails with the store's answer."""
    house.installed.give_store(place.namespace, secret_key="x" * 40)
    name = place.apply(manifests.tiny(place.namespace, backoffLimit=0))
    status = place.until_ended(name, 60)
    assert (status["phase"], why(status)) == ("Failed", "AccessDeniedError")
    assert "credentials" in message(status)
