"""Checkpoints of long training in the store: where a retried attempt goes on.

They lie below ``<namespace>/checkpoints/<kind>-<key>/<step>/``, keyed as the stage's output is, so
only an attempt at the very same output finds them. ``marker.json`` is written last and lists every
file with size and sha256: a folder without one is not a checkpoint. Older checkpoints go once a
newer one is marked.

``save_state`` and ``load_state`` are the files themselves for one process: safetensors and JSON,
nothing pickled, and every bit comes back. DeepSpeed writes its own; see ``training``.
"""

import json
import logging
import os
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from autodidact_contract import environment
from autodidact_contract.artifacts import checkpoint_prefix
from autodidact_contract.base import Schema, canonical_json

log = logging.getLogger(__name__)

MARKER = "marker.json"
MAX_MARKER_BYTES = 1 << 20

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


class Part(Schema):
    """One file of a checkpoint."""

    path: str = Field(description="Path inside the checkpoint, with slashes.")
    size: int = Field(ge=0)
    sha256: str


class Marker(Schema):
    """Says that a checkpoint is complete."""

    step: int = Field(ge=0)
    files: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one stage output.

    Attributes:
        store: An artifact store.
        prefix: Where they lie, ending in a slash.
    """

    store: Any
    prefix: str

    @classmethod
    def of(cls, store: Any, namespace: str, kind: str, key: str) -> "Checkpoints":
        """Returns the checkpoints of the stage output ``<kind>-<key>``."""
        return cls(store=store, prefix=checkpoint_prefix(namespace, kind, key))

    def upload(self, step: int, folder: Path) -> list[Part]:
        """Uploads every file of a folder; the checkpoint is not complete before ``mark``."""
        parts = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            size, sha256 = self.store.upload(f"{self._folder(step)}{name}", path)
            parts.append(Part(path=name, size=size, sha256=sha256))
        return parts

    def mark(self, step: int, parts: Iterable[Part]) -> None:
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


class Interval:
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


def save_state(folder: Path, model: Any, optimizer: Any, scheduler: Any = None) -> None:
    """Writes weights, optimiser and schedule, if it has a state, to a folder."""
    from safetensors.torch import save_file  # noqa: PLC0415 - torch takes seconds to import

    weights = {name: tensor.detach().cpu() for name, tensor in _tensors(model)}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / MODEL)
    full = optimizer.state_dict()
    tensors, values = {}, {}
    for number, entries in full["state"].items():
        for name, value in entries.items():
            if hasattr(value, "contiguous"):
                tensors[f"{number}.{name}"] = value.detach().cpu().contiguous()
            else:
                values[f"{number}.{name}"] = value
    save_file(tensors, folder / OPTIMIZER)
    state = {
        "groups": full["param_groups"],
        "values": values,
        "scheduler": _plain(scheduler.state_dict()) if scheduler else None,
    }
    (folder / STATE).write_text(json.dumps(state))


def load_model(folder: Path, model: Any) -> None:
    """Puts a checkpoint's weights into a model of the same shape."""
    import torch  # noqa: PLC0415 - as above
    from safetensors.torch import load_file  # noqa: PLC0415

    saved = load_file(folder / MODEL)
    with torch.no_grad():
        for name, tensor in _tensors(model):
            tensor.copy_(saved[name])


def load_optimizer(folder: Path, optimizer: Any, scheduler: Any = None) -> None:
    """Puts a checkpoint's moments, and position in the schedule, back."""
    from safetensors.torch import load_file  # noqa: PLC0415 - as above

    state = json.loads((folder / STATE).read_text())
    entries: dict[int, dict[str, Any]] = {}
    for name, value in (*load_file(folder / OPTIMIZER).items(), *state["values"].items()):
        number, _, entry = name.partition(".")
        entries.setdefault(int(number), {})[entry] = value
    groups = [
        {name: tuple(v) if name == "betas" else v for name, v in group.items()}
        for group in state["groups"]
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})
    if scheduler:
        scheduler.load_state_dict(state["scheduler"])


def random_state() -> dict[str, Any]:
    """Returns the state of every generator a training step may draw from, as plain JSON."""
    import numpy as np  # noqa: PLC0415 - as above
    import torch  # noqa: PLC0415

    kind, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [kind, [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in torch.cuda.get_rng_state_all()],
    }


def restore_random(state: dict[str, Any]) -> None:
    """Puts every generator back to a state."""
    import numpy as np  # noqa: PLC0415 - as above
    import torch  # noqa: PLC0415

    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if state["cuda"]:
        cuda = [torch.tensor(values, dtype=torch.uint8) for values in state["cuda"]]
        torch.cuda.set_rng_state_all(cuda)


def _tensors(model: Any) -> Sequence[tuple[str, Any]]:
    """Parameters and buffers by name, tied ones once."""
    return [*model.named_parameters(), *model.named_buffers()]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its functions, which the config determines."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(state.get("lr_lambdas", ()))
    }
