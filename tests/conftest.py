"""Fixtures for all tests, the marks that select them, and which of them may run side by side."""

from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["cluster.fixtures"]

SERVERS = frozenset({"cluster", "process_node", "minio", "versitygw", "plane"})
"""Fixtures that start servers; a test that uses one is marked ``cluster``."""

END_TO_END = Path(__file__).parent / "e2e"
"""All tests of this folder are marked ``cluster``."""

MODELS = frozenset({"llama", "other_llama"})
"""Fixtures that write a model; a test that uses one is marked ``training``."""


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Marks what ``make test-unit`` leaves out, and what has to share a process.

    Of several processes (``pytest -n 2 --dist loadgroup``) one runs all that needs a cluster, so
    that there is one of each kind, and the others run the rest, a module at a time.
    """
    for item in items:
        if SERVERS.intersection(item.fixturenames) or END_TO_END in item.path.parents:
            item.add_marker(pytest.mark.cluster)
        if MODELS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.training)
        group = "cluster" if item.get_closest_marker("cluster") else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
