"""Fixtures of the real node, and what each phase took."""

import re
from collections.abc import Iterator

import pytest

from cluster.control_plane import Cluster, Options
from installation import Installation
from real_node import figures, images
from real_node.containerd import ImageStore, exclusive_directory
from real_node.figures import phase
from real_node.images import NodeImages
from real_node.installation import create_restricted, give_store, install
from real_node.machine import Machine
from real_node.node import RealNode


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures."""
    terminalreporter.section("real node")
    for line in figures.lines():
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def node_images() -> NodeImages:
    """Every image, built if something it is made of has changed."""
    with phase("build images"):
        built = NodeImages.build()
    for name in built.names:
        figures.sizes[name.rpartition("/")[2].partition(":")[0]] = images.size(name)
    return built


@pytest.fixture(scope="session")
def stocked_machine(node_images: NodeImages) -> Iterator[tuple[Machine, ImageStore]]:
    """A machine and its containerd, which has the images."""
    with exclusive_directory() as directory, Machine() as machine:
        store = ImageStore(machine, directory)
        with phase("import images"):
            store.hold(node_images.names)
        yield machine, store


@pytest.fixture(scope="session")
def cluster(stocked_machine: tuple[Machine, ImageStore]) -> Iterator[Cluster]:
    """A control plane with one real node."""
    machine, store = stocked_machine
    with phase("control plane"):
        running = Cluster(options=Options(address=machine.outside))
        running.start()
    try:
        with phase("node"):
            RealNode(machine, running, store).start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def installation(cluster: Cluster, node_images: NodeImages) -> Installation:
    """The chart with its own MinIO; the operator is ready."""
    with phase("chart"):
        return install(cluster, node_images)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for runs that enforces `restricted`."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:50].strip("-")
    create_restricted(cluster, name)
    if "installation" in request.fixturenames:
        give_store(cluster, name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
