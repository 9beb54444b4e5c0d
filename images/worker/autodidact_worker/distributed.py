"""How many processes train together, with what engine, and whether that is really so.

accelerate and DeepSpeed fall back to fewer processes or to another engine without a word; what was
asked for is compared with what runs, before the first step.
"""

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from autodidact_worker.errors import UserError

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
        engine: ``none``, ``zero2`` or ``zero3``.
        gpu: Whether there is one; without, everything is float32 on the CPU.
    """

    world: int = 1
    rank: int = 0
    engine: str = "none"
    gpu: bool = field(default_factory=torch.cuda.is_available)

    @classmethod
    def of_environment(cls) -> "Layout":
        """Returns what the Job and torchrun say.

        Raises:
            UserError: ``WrongWorldSize``: they contradict each other.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        asked = int(os.environ.get("AUTODIDACT_WORLD_SIZE", world))
        engine = os.environ.get("AUTODIDACT_DEEPSPEED", "none")
        if asked != world:
            raise UserError(
                "WrongWorldSize",
                f"the stage asks for {asked} processes but {world} were started; start it with "
                "torchrun on every node",
            )
        if engine not in {"none", "zero2", "zero3"}:
            raise UserError(
                "InvalidEngine", f"AUTODIDACT_DEEPSPEED is {engine!r}, not none, zero2 or zero3"
            )
        return cls(world=world, rank=int(os.environ.get("RANK", "0")), engine=engine)


def deepspeed_config(layout: Layout) -> dict[str, Any] | None:
    """Returns DeepSpeed's config, None where a plain process or DDP was asked for."""
    if layout.engine == "none":
        return None
    return {
        "zero_optimization": {
            "stage": int(layout.engine[-1]),
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "bf16": {"enabled": layout.gpu},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def check_engine(trainer: Any, layout: Layout) -> None:
    """Returns if the trainer runs on the processes and the engine that were asked for.

    Raises:
        UserError: ``WrongWorldSize`` or ``WrongEngine``.
    """
    processes = trainer.accelerator.num_processes
    joined = dist.get_world_size() if dist.is_initialized() else 1
    if not layout.world == processes == joined:
        raise UserError(
            "WrongWorldSize",
            f"{layout.world} processes were asked for, but accelerate has {processes} and torch "
            f"{joined}; check that torchrun started all nodes",
        )
    found = type(trainer.model_wrapped).__name__
    wanted = {"zero2": "DeepSpeedEngine", "zero3": "DeepSpeedEngine"}.get(layout.engine)
    wanted = wanted or ("DistributedDataParallel" if layout.world > 1 else None)
    if (wanted or type(trainer.model).__name__) != found:
        raise UserError("WrongEngine", f"{wanted or 'a plain model'} was asked for, not {found}")


def join(layout: Layout) -> None:
    """Joins the other processes, before any library counts them, until this process ends.

    DeepSpeed takes the world for one process otherwise, and says nothing. It also keeps the group
    for good: leaving and joining again for a second stage would break it.
    """
    if dist.is_initialized() or (layout.world == 1 and layout.engine == "none"):
        return
    backend = "nccl" if layout.gpu else "gloo"
    if layout.world == 1:  # started without torchrun
        for name, value in _ALONE.items():
            os.environ.setdefault(name, value)
    if layout.gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if layout.engine == "none":
        dist.init_process_group(backend)
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cuda" if layout.gpu else "cpu")
        import deepspeed  # noqa: PLC0415 - only where it is used

        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
    atexit.register(dist.destroy_process_group)


def agreed(stop: bool, save: bool, layout: Layout) -> tuple[bool, bool]:
    """What any rank wants, all do."""
    if layout.world == 1:
        return stop, save
    device = torch.device("cuda") if layout.gpu else torch.device("cpu")
    wishes = torch.tensor([stop, save], dtype=torch.int32, device=device)
    dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
    return bool(wishes[0]), bool(wishes[1])


def summed(values: Sequence[float], layout: Layout) -> list[float]:
    """Returns the sums over all ranks; the same on each of them."""
    if layout.world == 1:
        return [float(value) for value in values]
    device = torch.device("cuda") if layout.gpu else torch.device("cpu")
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return [float(value) for value in total]


def gathered(parts: list[Any], layout: Layout) -> list[Any]:
    """The files of all ranks, each once."""
    if layout.world == 1:
        return parts
    everyone: list[Any] = [None] * layout.world
    dist.all_gather_object(everyone, parts)
    return list({part.path: part for rank in everyone for part in rank}.values())
