"""Fixtures of the tests of engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autodidact_worker.generation import server
from support.completion_servers import (
    Scripted,
    scripted,
)


@pytest.fixture
def script(llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A server of the tiny model, and little patience with it."""
    monkeypatch.setattr(server, "PATIENCE_S", 0.5)
    with scripted(llama.name) as found:
        yield found
