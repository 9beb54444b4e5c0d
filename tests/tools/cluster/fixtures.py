"""pytest fixtures of the development cluster; list `tools.cluster.fixtures` in `pytest_plugins`."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.cluster.control_plane import Cluster, Options
from tools.cluster.node_process import NodeProcess
from tools.cluster.object_store import ObjectStore, S3Server, VersityGateway
from tools.cluster.processes import Keeper


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


@contextmanager
def _alone(kind: type[S3Server]) -> Iterator[S3Server]:
    directory = Path(tempfile.mkdtemp(prefix=f"autodidact-{kind.name}-"))
    keeper = Keeper(directory, remove=True)
    try:
        server = kind(keeper)
        server.start()
        yield server
    finally:
        keeper.close()


@pytest.fixture(scope="session")
def minio() -> Iterator[S3Server]:
    """A MinIO server and nothing else."""
    with _alone(ObjectStore) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw() -> Iterator[S3Server]:
    """A versitygw server and nothing else."""
    with _alone(VersityGateway) as server:
        yield server
