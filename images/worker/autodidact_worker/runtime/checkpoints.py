"""Checkpoints of long trainings in the store, from which a retried attempt goes on.

They lie below ``<namespace>/checkpoints/<kind>-<key>/<step>/``, keyed as the stage's output is, so
only an attempt at the very same output finds them. ``marker.json`` is written last and lists every
file with size and sha256: a folder without one is not a checkpoint. Older checkpoints go once a
newer one is marked.

What is in the files is the training's to say, see ``training.state``.
"""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from autodidact_contract import environment
from autodidact_contract.artifacts import checkpoint_prefix
from autodidact_contract.base import Schema, canonical_json
from autodidact_store import Store

log = logging.getLogger(__name__)

MARKER = "marker.json"
MAX_MARKER_BYTES = 1 << 20


class CheckpointFile(Schema):
    """One file of a checkpoint."""

    path: str = Field(description="Path inside the checkpoint, with slashes.")
    size: int = Field(ge=0)
    sha256: str


class Marker(Schema):
    """Says that a checkpoint is complete."""

    step: int = Field(ge=0)
    files: tuple[CheckpointFile, ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one stage output.

    Attributes:
        store: An artifact store.
        prefix: Where they lie, ending in a slash.
    """

    store: Store
    prefix: str

    @classmethod
    def of(cls, store: Store, namespace: str, kind: str, key: str) -> "Checkpoints":
        """Returns the checkpoints of the stage output ``<kind>-<key>``."""
        return cls(store=store, prefix=checkpoint_prefix(namespace, kind, key))

    def upload(self, step: int, folder: Path) -> list[CheckpointFile]:
        """Uploads every file of a folder; the checkpoint is not complete before ``mark``."""
        parts = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            size, sha256 = self.store.upload(f"{self._folder(step)}{name}", path)
            parts.append(CheckpointFile(path=name, size=size, sha256=sha256))
        return parts

    def mark(self, step: int, parts: Iterable[CheckpointFile]) -> None:
        """Makes a checkpoint the one to resume from, then removes the older ones."""
        marker = Marker(step=step, files=tuple(parts))
        self.store.replace(f"{self._folder(step)}{MARKER}", canonical_json(marker.dump()))
        log.info("checkpoint step=%d files=%d", step, len(marker.files))
        self.prune(step)

    def latest(self) -> Marker | None:
        """Returns the marker of the newest complete checkpoint, None without one."""
        keys = [entry.key for entry in self.store.entries(self.prefix)]
        marked = [key for key in keys if key.endswith(f"/{MARKER}")]
        for key in sorted(marked, key=self._step, reverse=True):
            try:
                return Marker.model_validate_json(self.store.read(key, MAX_MARKER_BYTES))
            except ValidationError:
                log.warning("ignoring the unreadable checkpoint %s", key)
        return None

    def download(self, marker: Marker, folder: Path) -> None:
        """Brings a checkpoint to an empty folder, every byte checked."""
        for part in marker.files:
            path = folder / part.path
            path.parent.mkdir(parents=True, exist_ok=True)
            key = f"{self._folder(marker.step)}{part.path}"
            self.store.download(key, path, size=part.size, sha256=part.sha256)

    def clear(self) -> None:
        """Removes them all, once the output they led to is published."""
        self.prune(None)

    def _folder(self, step: int) -> str:
        return f"{self.prefix}{step:09d}/"

    def _step(self, key: str) -> int:
        digits = key.removeprefix(self.prefix).partition("/")[0]
        return int(digits) if digits.isdecimal() else -1

    def prune(self, newest: int | None) -> None:
        """Removes what is older than a step, or everything."""
        keys = [entry.key for entry in self.store.entries(self.prefix)]
        old = [key for key in keys if newest is None or self._step(key) < newest]
        # Markers first, so that nothing half removed looks complete.
        for key in sorted(old, key=lambda key: (not key.endswith(f"/{MARKER}"), key)):
            self.store.delete(key)


class Timer:
    """The time between two checkpoints, ``AUTODIDACT_CHECKPOINT_SECONDS``; it starts now."""

    def __init__(self) -> None:
        self._seconds = float(os.environ.get(environment.CHECKPOINT_SECONDS, "600"))
        self.restart()

    def restart(self) -> None:
        """Starts anew: a checkpoint was made."""
        self._since = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._since >= self._seconds
