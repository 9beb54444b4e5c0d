"""One of several ranks, started by torchrun: trains everything with one engine.

All trainings in one process, for the libraries take longer to load than that; but only one engine,
for accelerate keeps its first one for good. Rank 0 leaves one folder for each training in the
folder that is the first argument.
"""

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed.ops
import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from autodidact_store import open_store
from autodidact_worker.judging import contests
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Output
from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online import ppo
from support import offline_stages, online_stages

ENGINES = ("none", "zero2", "zero3")

SAID = "layout.json"
"""What a training says it ran on: processes and engine."""

INPUTS = ("model", "questions", "validation", "pairs", "samples", "prompts")
"""Written for all trainings; each takes its own."""

TRAININGS: Mapping[str, Callable[..., Any]] = {
    "sft": partial(offline_stages.sft_config, micro_batch_size=2),
    "dpo": partial(offline_stages.dpo_config, micro_batch_size=2, lora=online_stages.LORA),
    # Its reference pass is one batch.
    "dpo-once": partial(offline_stages.dpo_config, batch_size=12, micro_batch_size=6),
    "chosen": partial(offline_stages.chosen_config, micro_batch_size=2),
    "reranker": partial(offline_stages.reranker_config, micro_batch_size=2),
    "grpo": online_stages.grpo_config,
    "ppo": online_stages.ppo_config,
    "critic": partial(online_stages.ppo_config, value_network="separate", value_warmup_steps=1),
    "lora": partial(online_stages.ppo_config, lora=online_stages.LORA),
    "st": partial(online_stages.st_config, micro_batch_size=2),
}
"""What is trained, by name."""


def main(folder: Path) -> None:
    """Trains everything, and PPO once more, stopped after its first rollout and resumed.

    One rank alone is asked to stop, while it samples the second rollout.
    """
    # Or DeepSpeed would compile it first; gloo does the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _partition_everything()
    inputs = {name: folder / name for name in INPUTS}
    layout = Layout.of_environment()

    def run(name: str, config: Any, **more: Any) -> None:
        rank = f"-{layout.rank}" if layout.rank else ""
        place = folder / f"{name}-{layout.deepspeed}{rank}"
        made = train(config, inputs, place, **more)
        (place / SAID).write_text(json.dumps([made.world_size, made.deepspeed]))

    for kind, config in TRAININGS.items():
        run(kind, config())
        unset_hf_deepspeed_config()  # or the next model would be in ZeRO-3's pieces when loaded
    store = open_store(str(folder / f"store-{layout.deepspeed}"))
    stop = online_stages.Stop(2)
    asked = stop.asked if layout.rank else lambda: False
    try:
        run("stopped", TRAININGS["ppo"](), store=store, stopping=asked, progress=stop.progress)
    except StoppedError:
        run("resumed", TRAININGS["ppo"](), store=store)
    values, mask = online_stages.UNEVEN
    share = slice(layout.rank, None, layout.world)
    white = ppo.whiten(values[share], mask[share], lambda tensor: distributed.total(tensor, layout))
    (folder / f"white-{layout.deepspeed}-{layout.rank}.json").write_text(json.dumps(white.tolist()))


def train(config: Any, inputs: Mapping[str, Path], place: Path, **more: Any) -> Output:
    """Runs a training on its inputs; checkpoints are judged by ``SecondIsBest``."""
    given = dict(inputs)
    if getattr(config, "selection", None):
        given["validation"] = given["prompts"]
    original, contests.open_judge = contests.open_judge, lambda *_: offline_stages.SecondIsBest()
    try:
        return online_stages.run(config, given, place, **more)
    finally:
        contests.open_judge = original


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
