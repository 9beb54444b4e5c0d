"""One of several ranks, started by torchrun: trains with every engine, whole and interrupted.

All in one process, for the libraries take longer to load than the trainings. Rank 0 leaves one
folder for each training in the folder that is the first argument.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed.ops
import torch

from autodidact_store import open_store
from autodidact_worker import distributed, ppo
from autodidact_worker.distributed import Layout
from autodidact_worker.errors import StoppedError
from worker import online_stages

ENGINES = ("zero2", "zero3", "none")
"""DeepSpeed first: it has to make the process group."""

SAID = "layout.json"
"""What a training says it ran on: processes and engine."""

TRAININGS: Mapping[str, Callable[[], Any]] = {
    "ppo": online_stages.ppo_config,
    "critic": partial(online_stages.ppo_config, value_network="separate", value_warmup_steps=1),
    "lora": partial(online_stages.ppo_config, lora=online_stages.LORA),
    "st": online_stages.st_config,
}
"""What is trained, by name."""


def main(folder: Path) -> None:
    """Trains everything with each engine, and PPO once more, stopped after its first rollout."""
    # Or DeepSpeed would compile it first; gloo does the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _partition_everything()
    inputs = {name: folder / name for name in ("model", "questions", "validation")}
    rank = os.environ["RANK"]

    def run(name: str, config: Any, **more: Any) -> None:
        place = folder / (name if rank == "0" else f"{name}-{rank}")
        made = online_stages.run(config, inputs, place, **more)
        (place / SAID).write_text(json.dumps([made.world_size, made.deepspeed]))

    for engine in ENGINES:
        os.environ["AUTODIDACT_DEEPSPEED"] = engine
        for kind, config in TRAININGS.items():
            run(f"{kind}-{engine}", config())
        store = open_store(str(folder / f"store-{engine}"))
        try:
            run(f"stopped-{engine}", TRAININGS["ppo"](), store=store, stopping=lambda: True)
        except StoppedError:
            run(f"resumed-{engine}", TRAININGS["ppo"](), store=store)
    layout = Layout.of_environment()
    values, mask = online_stages.UNEVEN
    share = slice(layout.rank, None, layout.world)
    white = ppo.whiten(values[share], mask[share], lambda tensor: distributed.total(tensor, layout))
    (folder / f"white-{rank}.json").write_text(json.dumps(white.tolist()))


def _partition_everything() -> None:
    """Has ZeRO-3 partition these weights too, which it would keep whole as they are so few."""
    original = distributed.deepspeed_config

    def config(layout: Layout) -> Any:
        found = original(layout)
        if found is not None:
            found["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return found

    distributed.deepspeed_config = config


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
