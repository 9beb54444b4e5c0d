"""The weights of the best model so far: kept on disk while it goes on learning, and put back.

Only what is trained is kept. Every rank calls these; the file is rank 0's.
"""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout

BEST = "best.safetensors"
"""Name of the file, in the scratch folder and in checkpoints."""


def keep(model: nn.Module, path: Path, layout: Layout) -> None:
    """Writes the trained weights to a file of rank 0's.

    Args:
        model: Whole, or in DeepSpeed's pieces.
        path: Where to.
        layout: On what it runs.
    """
    weights = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            with distributed.whole(weight, layout):
                if layout.rank == 0:
                    weights[name] = weight.detach().to("cpu", copy=True).contiguous()
    if layout.rank == 0:
        save_file(weights, path)


def put_back(model: nn.Module, path: Path, layout: Layout) -> None:
    """Gives a model the trained weights that ``keep`` wrote.

    Args:
        model: As for ``keep``. A model in pieces is right on every rank afterwards, a whole one on
            rank 0.
        path: Where they are.
        layout: On what it runs.
    """
    weights = load_file(path) if layout.rank == 0 else {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            with distributed.whole(weight, layout):
                if layout.rank == 0:
                    weight.data.copy_(weights[name])
