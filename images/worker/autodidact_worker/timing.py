"""Where the time goes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Wall time by phase.

    Attributes:
        seconds: Of each phase that has ended, all its turns together.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        """Starts from what earlier attempts took, if there were any."""
        self.seconds: dict[str, float] = dict(before or {})

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Measures a turn, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started

    def __str__(self) -> str:
        """Names the phases in the order in which they ended first."""
        return " ".join(f"{phase}Seconds={value:.3f}" for phase, value in self.seconds.items())
