"""Fixtures for all tests, and the marks that select them."""

from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tools.cluster.fixtures", "support.control", "support.worker"]

SERVERS = frozenset({"cluster", "process_node", "minio", "versitygw", "plane"})
"""Fixtures that start servers; a test that uses one is marked ``cluster``."""

END_TO_END = Path(__file__).parent / "system" / "processes"
"""All tests of this folder are marked ``cluster``."""

MODELS = frozenset({"llama", "other_llama"})
"""Fixtures that write a model; a test that uses one is marked ``training``."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Marks what ``make test-unit`` leaves out."""
    for item in items:
        if SERVERS.intersection(item.fixturenames) or END_TO_END in item.path.parents:
            item.add_marker(pytest.mark.cluster)
        if MODELS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.training)
