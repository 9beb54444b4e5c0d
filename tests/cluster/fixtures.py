"""pytest fixtures of the development cluster; list `cluster.fixtures` in `pytest_plugins`."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.control_plane import Cluster, Options
from cluster.node_process import NodeProcess
from cluster.object_store import ObjectStore
from cluster.processes import Keeper


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane with MinIO and without nodes, shared by the session."""
    with Cluster(options=Options(fast=True)) as running:
        yield running


@pytest.fixture(scope="session")
def process_node(cluster: Cluster) -> NodeProcess:
    """The shared cluster's process node, in a process of its own."""
    return cluster.add_node()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace with its default service account, deleted afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.create_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def minio() -> Iterator[ObjectStore]:
    """A MinIO server and nothing else."""
    directory = Path(tempfile.mkdtemp(prefix="autodidact-minio-"))
    keeper = Keeper(directory, remove=True)
    try:
        store = ObjectStore(keeper)
        store.start()
        yield store
    finally:
        keeper.close()
