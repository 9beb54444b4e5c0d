"""The state of a training as files: safetensors and JSON, nothing pickled, and every bit comes back.

These are the files of one process, with or without DDP. DeepSpeed writes its own.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from autodidact_contract.stages.base import StageConfig
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, kind_of

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def checkpoints_of(context: Context[StageConfig]) -> Checkpoints | None:
    """Returns where the checkpoints of a stage are; None without a store."""
    if context.store is None:
        return None
    kind = kind_of(context.config)
    return Checkpoints.of(context.store, context.namespace, kind, context.key)


def stopped(where: str, saved: Checkpoints | None) -> StoppedError:
    """Returns the error that ends a training which was asked to stop.

    Args:
        where: Where it stopped, such as "step 3 of 8".
        saved: Where its checkpoints are.
    """
    kept = "saved" if saved else "lost, for there is no store"
    return StoppedError(f"stopped by SIGTERM after {where}; what was learned is {kept}")


def save_state(
    folder: Path, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None = None
) -> None:
    """Writes weights, optimiser and schedule, if it has a state, to a folder."""
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


def load_model(folder: Path, model: nn.Module) -> None:
    """Puts a checkpoint's weights into a model of the same shape."""
    saved = load_file(folder / MODEL)
    with torch.no_grad():
        for name, tensor in _tensors(model):
            tensor.copy_(saved[name])


def load_optimizer(
    folder: Path, optimizer: Optimizer, scheduler: LRScheduler | None = None
) -> None:
    """Puts a checkpoint's moments, and position in the schedule, back."""
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
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if state["cuda"]:
        cuda = [torch.tensor(values, dtype=torch.uint8) for values in state["cuda"]]
        torch.cuda.set_rng_state_all(cuda)


def _tensors(model: nn.Module) -> Sequence[tuple[str, Tensor]]:
    """Parameters and buffers by name, tied ones once."""
    return [*model.named_parameters(), *model.named_buffers()]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its functions, which the config determines."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(state.get("lr_lambdas", ()))
    }
