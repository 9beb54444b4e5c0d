"""Processes that train together: how many they are, how DeepSpeed is used, what they exchange.

accelerate and DeepSpeed fall back to fewer processes, or to no DeepSpeed, without a word. What was
asked for is therefore compared with what runs, before the first step.
"""

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from autodidact_contract import environment
from autodidact_worker.runtime.errors import UserError

_ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}
"""What torchrun sets, for one process; port 0 is any free one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How many processes train together, and how.

    Attributes:
        world: Number of processes that the stage was given.
        rank: Which of them we are.
        deepspeed: How the optimiser is spread over them: ``none``, ``zero2`` or ``zero3``.
        gpu: Whether there is one; without, everything is float32 on the CPU.
    """

    world: int = 1
    rank: int = 0
    deepspeed: str = "none"
    gpu: bool = field(default_factory=torch.cuda.is_available)

    @classmethod
    def of_environment(cls) -> "Layout":
        """Returns what the Job and torchrun say.

        Raises:
            UserError: ``WrongWorldSize``: they contradict each other.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        asked = int(os.environ.get(environment.WORLD_SIZE, world))
        deepspeed = os.environ.get(environment.DEEPSPEED, "none")
        if asked != world:
            raise UserError(
                "WrongWorldSize",
                f"the stage asks for {asked} processes but {world} were started; start it with "
                "torchrun on every node",
            )
        if deepspeed not in environment.DEEPSPEEDS:
            raise UserError(
                "InvalidEngine",
                f"{environment.DEEPSPEED} is {deepspeed!r}, not none, zero2 or zero3",
            )
        return cls(world=world, rank=int(os.environ.get("RANK", "0")), deepspeed=deepspeed)


def deepspeed_config(layout: Layout) -> dict[str, Any] | None:
    """Returns DeepSpeed's config, None where a plain process or DDP was asked for."""
    if layout.deepspeed == "none":
        return None
    return {
        "zero_optimization": {
            "stage": int(layout.deepspeed[-1]),
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "bf16": {"enabled": layout.gpu},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def check_engine(trainer: Any, layout: Layout) -> None:
    """Returns if the trainer runs on the processes, and with the DeepSpeed, that were asked for.

    Raises:
        UserError: ``WrongWorldSize`` or ``WrongEngine``.
    """
    counted = {"accelerate": trainer.accelerator.num_processes}
    check(trainer.model, trainer.model_wrapped, counted, layout)


def check(model: nn.Module, wrapped: Any, counted: Mapping[str, int], layout: Layout) -> None:
    """Returns if a model runs on the processes, and with the DeepSpeed, that were asked for.

    Args:
        model: What trains.
        wrapped: The engine around it, or the model itself.
        counted: How many processes each library counts, by its name.
        layout: What was asked for.

    Raises:
        UserError: ``WrongWorldSize`` or ``WrongEngine``.
    """
    counted = {**counted, "torch": dist.get_world_size() if dist.is_initialized() else 1}
    if any(count != layout.world for count in counted.values()):
        found = " and ".join(f"{name} has {count}" for name, count in counted.items())
        raise UserError(
            "WrongWorldSize",
            f"{layout.world} processes were asked for, but {found}; check that torchrun started "
            "all nodes",
        )
    name = type(wrapped).__name__
    wanted = {"zero2": "DeepSpeedEngine", "zero3": "DeepSpeedEngine"}.get(layout.deepspeed)
    wanted = wanted or ("DistributedDataParallel" if layout.world > 1 else None)
    if (wanted or type(model).__name__) != name:
        raise UserError("WrongEngine", f"{wanted or 'a plain model'} was asked for, not {name}")
    # accelerate keeps the first config of a process, whatever later ones ask for.
    stage = wrapped.zero_optimization_stage() if layout.deepspeed != "none" else None
    if stage is not None and layout.deepspeed != f"zero{stage}":
        raise UserError("WrongEngine", f"{layout.deepspeed} was asked for, not ZeRO stage {stage}")


def join(layout: Layout) -> None:
    """Joins the other processes, before any library counts them, until this process ends.

    DeepSpeed takes the world for one process otherwise, and says nothing. It also keeps the group
    for good: leaving and joining again for a second stage would break it.
    """
    if dist.is_initialized() or (layout.world == 1 and layout.deepspeed == "none"):
        return
    backend = "nccl" if layout.gpu else "gloo"
    if layout.world == 1:  # started without torchrun
        for name, value in _ALONE.items():
            os.environ.setdefault(name, value)
    if layout.gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if layout.deepspeed == "none":
        dist.init_process_group(backend)
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cuda" if layout.gpu else "cpu")
        import deepspeed  # noqa: PLC0415 - only where it is used

        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
    atexit.register(dist.destroy_process_group)


def agreed(stop: bool, save: bool, layout: Layout) -> tuple[bool, bool]:
    """Returns whether any rank wants to stop, and whether any wants to save."""
    if layout.world == 1:
        return stop, save
    device = torch.device("cuda") if layout.gpu else torch.device("cpu")
    wishes = torch.tensor([stop, save], dtype=torch.int32, device=device)
    dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
    return bool(wishes[0]), bool(wishes[1])


def summed(values: Sequence[float], layout: Layout) -> list[float]:
    """Returns the sums over all ranks; the same on each of them."""
    device = torch.device("cuda") if layout.gpu else torch.device("cpu")
    own = torch.tensor(values, dtype=torch.float64, device=device)
    return [float(value) for value in total(own, layout)]


def total(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Returns the sum of a tensor over all ranks; the same on each of them."""
    if layout.world == 1:
        return tensor
    found = tensor.detach().clone()
    dist.all_reduce(found)
    return found


@contextmanager
def whole(weight: nn.Parameter, layout: Layout) -> Iterator[None]:
    """Makes a parameter whole on every rank; rank 0's value is divided among the ranks afterwards.

    Only ZeRO-3 has parameters in pieces; every rank has to ask for the same ones.
    """
    if layout.deepspeed != "zero3":
        yield
        return
    import deepspeed  # noqa: PLC0415 - only where it is used

    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
        yield


def everyone(value: Any, layout: Layout) -> list[Any]:
    """Returns the values of all ranks in order; the same on each of them."""
    if layout.world == 1:
        return [value]
    values: list[Any] = [None] * layout.world
    dist.all_gather_object(values, value)
    return values


def gathered(parts: list[Any], layout: Layout) -> list[Any]:
    """Returns the files of all ranks, each once."""
    return list({part.path: part for rank in everyone(parts, layout) for part in rank}.values())
