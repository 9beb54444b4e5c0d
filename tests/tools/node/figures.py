"""What a real node took: seconds by phase, sizes by image, and more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

seconds: dict[str, float] = {}
sizes: dict[str, str] = {}
notes: list[str] = []
"""Lines for people."""

TO_SUCCESS = "from kubectl apply to Succeeded"
_FROM_EMPTY = ("import images", "nodes", "chart")
"""Phases that a node without anything goes through before its first run."""


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Measures a phase."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began


def lines() -> list[str]:
    """Returns everything measured so far, for people."""
    return [
        *(f"{size:>10}  image {image}" for image, size in sizes.items()),
        *(f"{taken:8.1f} s  {name}" for name, taken in seconds.items()),
        *_from_empty_nodes(),
        *notes,
    ]


def _from_empty_nodes() -> Iterator[str]:
    before = sum(seconds.get(name, 0.0) for name in _FROM_EMPTY)
    for name, taken in seconds.items():
        run, found, _ = name.partition(f" {TO_SUCCESS}")
        if found:
            yield f"{before + taken:8.1f} s  {run} from empty nodes to Succeeded"
