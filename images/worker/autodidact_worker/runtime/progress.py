"""Tells the operator, or a person at the command line, how far a stage is.

Reports go out from a thread of their own, at most one in a while, and may fail in any way without
the stage noticing.
"""

import json
import logging
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

from autodidact_contract import environment
from autodidact_contract.base import canonical_json
from autodidact_contract.task import Progress

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
TIMEOUT_S = 3.0

Send = Callable[[bytes], None]
"""Delivers a report, or raises."""


class ProgressCall(Protocol):
    """How a stage says where it is: ``progress(step, total, loss=0.3)``."""

    def __call__(self, step: int, total: int, **metrics: float) -> None:
        """Notes a step; it is cheap enough to be called after every step."""


def silent(step: int, total: int, **metrics: float) -> None:
    """Reports nowhere."""


class Ticks:
    """Adds up what was done a bit at a time, and reports the sum.

    Attributes:
        done: The sum so far.
    """

    def __init__(self, progress: ProgressCall, total: int) -> None:
        """Starts at nothing.

        Args:
            progress: Where the sum is reported.
            total: What the sum will be in the end.
        """
        self.done = 0
        self._progress, self._total = progress, total

    def __call__(self, made: int) -> None:
        """Adds what was made since the last call."""
        self.done += made
        self._progress(self.done, self._total)


class Reporter:
    """Sends the latest progress in the background; a context manager that flushes at its end."""

    def __init__(self, send: Send | None, interval_s: float = INTERVAL_S) -> None:
        """Starts the thread.

        Args:
            send: Delivers one report or raises; None reports nowhere.
            interval_s: Shortest time between two reports; the newest one wins.
        """
        self._send = send
        self._interval = interval_s
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._news = threading.Event()
        self._end = threading.Event()
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        if send:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self, progress: Progress) -> None:
        """Notes how far the stage is; returns at once."""
        with self._lock:
            self._latest = progress
        self._news.set()

    def close(self) -> None:
        """Sends what is left, once, and ends the thread."""
        self._end.set()
        self._news.set()
        if self._send and self._thread.is_alive():
            self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        while not self._end.is_set():
            self._news.wait()
            self._news.clear()
            self._deliver()
            self._end.wait(self._interval)
        self._deliver()

    def _deliver(self) -> None:
        with self._lock:
            progress, self._latest = self._latest, None
        if progress is None or self._send is None:
            return
        try:
            self._send(canonical_json(progress.dump()))
        except Exception as error:  # noqa: BLE001 - reporting can never break a stage
            level = logging.DEBUG if self._complained else logging.WARNING
            log.log(level, "progress not delivered error=%s: %s", type(error).__name__, error)
            self._complained = True


def poster(url: str, token_file: Path | None) -> Send:
    """Returns a sender that POSTs to the operator; the token is read anew, kubelet rotates it.

    Raises:
        ValueError: The URL is not http(s).
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"progress URL must be http(s): {url!r}")

    def send(body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        if token_file:
            headers["Authorization"] = f"Bearer {token_file.read_text().strip()}"
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 - checked
            reply.read(1024)

    return send


def appender(path: Path) -> Send:
    """Returns a sender that appends lines to a file, for whoever follows without a cluster."""

    def send(body: bytes) -> None:
        with path.open("ab") as file:
            file.write(body + b"\n")

    return send


def from_environment(environ: Mapping[str, str]) -> Send | None:
    """Returns the sender that the environment asks for: a URL, else a file, else none."""
    token = environ.get(environment.TOKEN_FILE)
    if url := environ.get(environment.PROGRESS_URL):
        return poster(url, Path(token) if token else None)
    if path := environ.get(environment.PROGRESS_FILE):
        return appender(Path(path))
    return None


def interval(environ: Mapping[str, str]) -> float:
    """Returns the shortest time between two reports, in seconds (AUTODIDACT_PROGRESS_INTERVAL)."""
    try:
        return max(0.1, float(environ.get(environment.PROGRESS_INTERVAL, INTERVAL_S)))
    except ValueError:
        return INTERVAL_S


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics that JSON can carry."""
    limit = float("inf")
    return {name: float(value) for name, value in metrics.items() if -limit < value < limit}


def read(path: Path) -> list[Progress]:
    """Returns the reports in a file that an ``appender`` wrote; a torn last line is left out."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    return [Progress(**json.loads(line)) for line in whole.splitlines()]
