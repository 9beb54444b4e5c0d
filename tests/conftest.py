"""Fixtures for all tests; whatever needs the development cluster's programs is marked."""

from typing import Any

import pytest

pytest_plugins = ["cluster.fixtures"]

SERVERS = frozenset({"cluster", "process_node", "minio", "versitygw", "plane"})
"""Fixtures that start servers; a test that uses one is marked ``cluster``."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Marks what needs a server, so that ``make test-unit`` can leave it out."""
    for item in items:
        if SERVERS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.cluster)
