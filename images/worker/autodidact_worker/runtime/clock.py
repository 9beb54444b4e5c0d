"""Measures how long each phase of a stage takes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Wall time by phase; a phase within another counts for itself alone.

    Attributes:
        seconds: Of each phase that has ended, all its turns together.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        """Starts from what earlier attempts took, if there were any."""
        self.seconds: dict[str, float] = dict(before or {})
        self._within = 0.0  # what the phases within the present one took

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Measures one passage of a phase, also where it ends in an error."""
        started, beside, self._within = time.monotonic(), self._within, 0.0
        try:
            yield
        finally:
            took = time.monotonic() - started
            self.seconds[phase] = self.seconds.get(phase, 0.0) + took - self._within
            self._within = beside + took

    def __str__(self) -> str:
        """Names the phases in the order in which they ended first."""
        return " ".join(f"{phase}Seconds={value:.3f}" for phase, value in self.seconds.items())
