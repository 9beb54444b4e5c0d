"""Fixtures of the real node, and what each phase took."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.rights import RULE
from tools import auditing
from tools.cluster.control_plane import Cluster, Options
from tools.installation import Installation
from tools.node import figures, images
from tools.node.containerd import ImageStore, exclusive_directory
from tools.node.figures import phase
from tools.node.images import NodeImages
from tools.node.installation import create_restricted, install
from tools.node.machine import Machine
from tools.node.node import RealNode
from tools.node.runs import Place

UNREACHABLE_S = 20
"""Seconds without a Lease after which a node is not Ready."""

TOLERATED_S = 5
"""Seconds that pods stay on such a node."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has what looks back on all tests run after them."""
    last = Path(__file__).with_name("test_rights.py")
    items.sort(key=lambda item: item.path == last)


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
def stores(node_images: NodeImages) -> Iterator[dict[Machine, ImageStore]]:
    """Two machines that can reach each other, and the containerd of each, which has the images."""
    with exclusive_directory() as directory, Machine() as first, Machine() as second:
        store = ImageStore(first, directory)
        with phase("import images"):
            store.hold(node_images.names)
        second.connect(first)
        yield {first: store, second: store.twin(second)}


@pytest.fixture(scope="session")
def nodes(stores: dict[Machine, ImageStore]) -> Iterator[tuple[Cluster, list[RealNode]]]:
    """A control plane with two real nodes that soon notices when one is gone."""
    machines = list(stores)
    kinds = ("not-ready", "unreachable")
    options = Options(
        address=machines[0].outside,
        audit_rules=(*auditing.RULES, RULE),
        api_server_arguments=tuple(
            f"--default-{kind}-toleration-seconds={TOLERATED_S}" for kind in kinds
        ),
        controller_manager_arguments=(f"--node-monitor-grace-period={UNREACHABLE_S}s",),
    )
    with phase("control plane"):
        cluster = Cluster(options=options)
        cluster.start()
    try:
        with phase("nodes"):
            found = [RealNode(machine, cluster, store) for machine, store in stores.items()]
            for node in found:
                node.start()
            found[0].serve_dns()
        yield cluster, found
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(nodes: tuple[Cluster, list[RealNode]]) -> Cluster:
    """The control plane."""
    return nodes[0]


@pytest.fixture(scope="session")
def installation(nodes: tuple[Cluster, list[RealNode]], node_images: NodeImages) -> Installation:
    """The chart with its own MinIO, both on the first node; the operator is ready."""
    cluster, (_, *others) = nodes
    for node in others:
        cluster.kubectl("cordon", node.name)
    with phase("chart"):
        installed = install(cluster, node_images)
    for node in others:
        cluster.kubectl("uncordon", node.name)
    return installed


@pytest.fixture
def place(
    nodes: tuple[Cluster, list[RealNode]],
    installation: Installation,
    request: pytest.FixtureRequest,
) -> Iterator[Place]:
    """A namespace for runs that enforces `restricted`."""
    cluster, found = nodes
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-40:].strip("-")
    create_restricted(cluster, name)
    yield Place(installed=installation, nodes=found, namespace=name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
