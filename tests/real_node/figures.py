"""What a real node took: seconds by phase, sizes by image, and more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

seconds: dict[str, float] = {}
sizes: dict[str, str] = {}
notes: list[str] = []
"""Lines for people."""


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
        *notes,
    ]
