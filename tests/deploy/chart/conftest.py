"""Fixtures of the chart's tests."""

from pathlib import Path

import pytest

from support.chart import rendering


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart with fresh CustomResourceDefinitions."""
    return rendering.copy(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="session")
def rendered(chart: Path) -> list[rendering.Object]:
    """The chart with its default values."""
    return rendering.render(chart)
