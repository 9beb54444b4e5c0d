"""Scripted ends of containers, for both kinds of nodes."""

import datetime
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tools.cluster.api import JsonObject

LONGEST_MESSAGE = 4096  # bytes of a termination message that the kubelet keeps


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a container does instead of running.

    Attributes:
        delay_s: How long it runs.
        exit_code: How it exits.
        message: Its termination message.
        reason: `Completed` or `Error` by default; `OOMKilled` is another.
        before: Awaited when the delay is over, before the status says that the container ended.
    """

    delay_s: float = 0.0
    exit_code: int = 0
    message: str = ""
    reason: str = ""
    before: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one run of a container ended; times are as the API writes them."""

    exit_code: int
    reason: str
    message: str
    started_at: str
    finished_at: str

    def as_state(self) -> JsonObject:
        """Return the container state of the pod's status."""
        terminated = {
            "exitCode": self.exit_code,
            "reason": self.reason,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
        }
        if self.message:
            terminated["message"] = self.message
        return {"terminated": terminated}


def ending(exit_code: int, started_at: str, *, message: str = "", reason: str = "") -> Ending:
    """Return an ending that happens now, with the reason the exit code implies."""
    return Ending(
        exit_code=exit_code,
        reason=reason or ("Completed" if exit_code == 0 else "Error"),
        message=message.encode()[-LONGEST_MESSAGE:].decode(errors="ignore"),
        started_at=started_at,
        finished_at=timestamp(),
    )


def timestamp() -> str:
    """Return the present time as the API writes it, in seconds."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
