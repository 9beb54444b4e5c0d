"""One cluster, one operator and its store for all end-to-end tests of a session."""

import dataclasses
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from autodidact_store import open_store
from support.deployed import House, Place
from support.rights import RULE, missing
from support.scripted_stages import ScriptedStages, playing
from tools import auditing
from tools.cluster.control_plane import Cluster, Options
from tools.installation import BUCKET, NODE, Installation

REAL = {"pods": "real"}
_PODS = {"requests": {"cpu": "100m", "memory": "128Mi"}}
PROFILES = {
    "default": {"resources": _PODS, "nodeSelector": REAL},
    "scripted": {"nodeSelector": {"play": "scripted"}, "resources": _PODS},
    "larger": {
        "nodeSelector": {"play": "scripted"},
        "resources": _PODS,
        "outOfMemoryResources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
    },
    "nowhere": {"nodeSelector": {"nobody": "has-this"}},
    "no-image": {"image": "registry.invalid/does-not-exist:1", "nodeSelector": REAL},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """A cluster with a process node, a scripted node and the operator."""
    options = Options(fast=True, audit_rules=(*auditing.RULES, RULE))
    with Cluster(options=options) as cluster:
        settings = dataclasses.replace(
            NODE,
            labels=REAL,
            back_off_s=0.1,
            back_off_limit_s=0.2,
            environment={**NODE.environment, "NODE_CANARY": f"canary-{secrets.token_hex(8)}"},
        )
        node = cluster.add_node(settings)
        values = {
            "nodeSelector": REAL,
            "computeProfiles": PROFILES,
            # Two operators cannot share a port of this machine.
            "updateStrategy": {"type": "Recreate", "rollingUpdate": None},
        }
        # Renewed within seconds, so that every stage of some length meets it.
        values["store"] = {"sts": {"enabled": True, "renewSeconds": 5}}
        installed = Installation(cluster=cluster, values=values).install()
        store = open_store(f"s3://{BUCKET}", installed.store_environment())
        stages = ScriptedStages(store=store)
        with playing(cluster, stages, "scripted"):
            yield House(installed=installed, node=node, stages=stages)
        assert not missing(cluster), "the operator lacks a right that it needs"


@pytest.fixture(scope="session")
def collector(house: House) -> None:
    """The garbage collector is at work; in a young cluster it first learns the new kinds."""
    cluster, names = house.cluster, ("collector-owner", "collector-owned")
    about = {"apiVersion": "v1", "kind": "ConfigMap"}
    cluster.apply({**about, "metadata": {"name": names[0], "namespace": "default"}})
    uid = cluster.get("configmap", names[0], "default")["metadata"]["uid"]
    owner = {**about, "name": names[0], "uid": uid}
    metadata = {"name": names[1], "namespace": "default", "ownerReferences": [owner]}
    cluster.apply({**about, "metadata": metadata})
    cluster.kubectl("-n", "default", "delete", "configmap", names[0])
    gone = ("wait", "--for=delete", f"configmap/{names[1]}", "--timeout=120s")
    cluster.kubectl("-n", "default", *gone)


@pytest.fixture
def place(house: House) -> Iterator[Place]:
    """A fresh namespace with the store's credentials."""
    made = house.place(f"test-{secrets.token_hex(4)}")
    yield made
    house.cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="module")
def shared_place(house: House) -> Iterator[Place]:
    """A namespace that the tests of a module share."""
    made = house.place(f"shared-{secrets.token_hex(4)}")
    yield made
    house.cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")
