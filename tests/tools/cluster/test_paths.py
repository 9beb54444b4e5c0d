"""Container paths and variable references, rewritten."""

from pathlib import Path

import pytest

from tools.cluster.container_environment import expand
from tools.cluster.fields import resource_value
from tools.cluster.paths import PathMap

_PATHS = PathMap({"/data": Path("/host/d"), "/data/inner/": Path("/host/i"), "/work": Path("/t")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/host/d"),
        ("/data/x", "/host/d/x"),
        ("/data/inner/x", "/host/i/x"),
        ("--out=/data/x --tmp=/work", "--out=/host/d/x --tmp=/t"),
        ('{"dir": "/data"}', '{"dir": "/host/d"}'),
        ("file:///data/x", "file:///host/d/x"),
        ("/work:/data", "/t:/host/d"),
        ("/database", "/database"),
        ("/old/data", "/old/data"),
        ("s3://data/x", "s3://data/x"),
        ("s3://bucket/data", "s3://bucket/data"),
        ("/data.json", "/data.json"),
    ],
)
def test_paths_are_rewritten_as_wholes(text: str, expected: str) -> None:
    """A mount path is replaced where it stands as a whole path or the beginning of one."""
    assert _PATHS.rewrite(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)/x", "1/x"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A", "$A")],
)
def test_references_are_expanded(text: str, expected: str) -> None:
    """Known variables are filled in, escaped and unknown ones stay."""
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(
    ("amount", "divisor", "expected"),
    [("500m", "1", "1"), ("2Gi", "1Mi", "2048"), ("4", "1", "4"), ("500m", "1m", "500")],
)
def test_resources_are_divided_and_rounded_up(amount: str, divisor: str, expected: str) -> None:
    """A resource is shown in units of its divisor, rounded up."""
    container = {"resources": {"limits": {"cpu": amount}}}
    reference = {"resource": "limits.cpu", "divisor": divisor}
    assert resource_value(container, reference) == expected
