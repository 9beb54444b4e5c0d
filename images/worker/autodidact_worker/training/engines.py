"""Takes optimiser steps: in one process, by DDP, or by DeepSpeed with ZeRO-2 or ZeRO-3.

All that differs between them is here. Whoever trains sees one network, one gradient and one step:
losses are means over the rows of a pass, and gradients the means over passes and ranks.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autodidact_contract.stages.training import Training
from autodidact_worker.models import lora
from autodidact_worker.models.policy import Batch, Policy
from autodidact_worker.training import distributed, state
from autodidact_worker.training.distributed import Layout

_TAG = "engine"
"""Folder of DeepSpeed's own files in a checkpoint."""


def start(
    network: Policy,
    groups: Sequence[Iterable[nn.Parameter]],
    accumulation: int,
    config: Training,
    layout: Layout,
) -> "Engine":
    """Returns the engine that the layout asks for, around a network.

    Args:
        network: Its parameters are moved, wrapped or partitioned: use the engine from now on.
        groups: Parameters by learning rate; AdamW with eps 1e-8 (arXiv 2401.08967 appendix B)
            trains those that want a gradient.
        accumulation: Forward passes of this process that make a step.
        config: Weight decay and clipping.
        layout: What was asked for.

    Raises:
        UserError: ``WrongWorldSize`` or ``WrongEngine``: it is not what was asked for.
    """
    trained = lora.trainable_parameters(network)
    kind = Engine if layout.deepspeed == "none" else _DeepSpeed
    network.to(_device(layout))
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in group if p.requires_grad]} for group in groups],
        lr=config.learning_rate,
        eps=1e-8,
        weight_decay=config.weight_decay,
    )
    engine = kind(network, optimizer, accumulation, config, layout)
    engine.trained = trained
    return engine


def frozen(network: Policy, config: Training, layout: Layout) -> Callable[[Batch], Tensor]:
    """Returns a network that only answers; under ZeRO-3 in shards, else whole on each rank."""
    network.requires_grad_(requires_grad=False)
    if layout.deepspeed != "zero3":
        return network.to(_device(layout))
    import deepspeed  # noqa: PLC0415 - only where it is used

    engine, *_ = deepspeed.initialize(model=network, config=_settings(config, layout, 1))
    engine.eval()
    answers: Callable[[Batch], Tensor] = engine
    return answers


def precision(layout: Layout) -> AbstractContextManager[Any]:
    """Returns the number format of all forward passes: float32 on CPU, bfloat16 on GPUs.

    DeepSpeed brings its own.
    """
    if layout.gpu and layout.deepspeed == "none":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


class Engine:
    """One process, or DDP where there are more.

    Attributes:
        network: What trains.
        layout: On what.
        trained: How many numbers are trained.
    """

    network: Policy
    layout: Layout
    trained: int

    def __init__(
        self,
        network: Policy,
        optimizer: torch.optim.Optimizer,
        accumulation: int,
        config: Training,
        layout: Layout,
    ) -> None:
        """Wraps the network; see ``start``."""
        self.network, self.layout = network, layout
        self._optimizer = optimizer
        self._accumulation = accumulation
        self._max_norm = config.max_grad_norm
        self._wrapped: Any = network
        if layout.world > 1:
            self._wrapped = DistributedDataParallel(network, broadcast_buffers=False)
        distributed.check(network, self._wrapped, {}, layout)

    @property
    def device(self) -> torch.device:
        """The device that batches must be on."""
        return _device(self.layout)

    def __call__(self, batch: Batch) -> Any:
        """Returns what the network says of a batch."""
        with precision(self.layout):
            return self._wrapped(batch)

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:
        """Returns what forward and backward pass run in; gradients are exchanged in the last."""
        alone = last or self.layout.world == 1
        return nullcontext() if alone else self._wrapped.no_sync()

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of one of a step's passes."""
        (loss / self._accumulation).backward()

    def step(self, rates: Sequence[float]) -> float:
        """Takes an optimiser step and returns the norm of the gradient before it was clipped.

        No step is taken on a gradient that is no number.

        Args:
            rates: Learning rate of each group.
        """
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, self._max_norm))
        if norm < float("inf"):
            _set_rates(self._optimizer, rates)
            self._optimizer.step()
        self._optimizer.zero_grad()
        return norm

    def begin_anew(self) -> None:
        """Makes the next step the first one for all parameters that no step has moved yet.

        Adam divides its moments by what is left of their zero start after so many steps. Where the
        steps so far had no gradient the moments still are that start, and the step after 200 of
        them would be 2.9 times as long as a first one.
        """
        for moments in self._adam.state.values():
            if not moments["exp_avg_sq"].any():
                moments["step"].zero_()

    @property
    def _adam(self) -> torch.optim.Optimizer:
        return self._optimizer

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """Gives the model with all its present weights, and adapters if any, on every rank."""
        with precision(self.layout):
            yield self.network.model

    def save(self, folder: Path) -> None:
        """Writes all that the next step needs; every rank calls it, with a folder of its own."""
        if self.layout.rank == 0:
            state.save_state(folder, self.network, self._optimizer)

    def load(self, folder: Path) -> None:
        """Continues from what ``save`` of all ranks wrote."""
        state.load_model(folder, self.network)
        state.load_optimizer(folder, self._optimizer)


class _DeepSpeed(Engine):
    """ZeRO-2 or ZeRO-3."""

    def __init__(
        self,
        network: Policy,
        optimizer: torch.optim.Optimizer,
        accumulation: int,
        config: Training,
        layout: Layout,
    ) -> None:
        import deepspeed  # noqa: PLC0415 - only where it is used

        self.network, self.layout = network, layout
        # What samples under ZeRO-3: through the hooks of the original, which gather each layer for
        # every token, it would be slow, and ranks would have to sample equally long.
        self._copy = copy.deepcopy(network.model) if layout.deepspeed == "zero3" else None
        self._engine, *_ = deepspeed.initialize(
            model=network,
            optimizer=optimizer,
            model_parameters=[p for group in optimizer.param_groups for p in group["params"]],
            config=_settings(config, layout, accumulation),
        )
        counted = {"deepspeed": self._engine.dp_world_size}
        distributed.check(network, self._engine, counted, layout)

    def __call__(self, batch: Batch) -> Any:
        return self._engine(batch)

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002
        return nullcontext()  # DeepSpeed counts the passes itself

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()

    def step(self, rates: Sequence[float]) -> float:
        _set_rates(self._engine.optimizer, rates)
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    @property
    def _adam(self) -> torch.optim.Optimizer:
        wrapped: torch.optim.Optimizer = self._engine.optimizer.optimizer
        return wrapped

    @contextmanager
    def whole(self) -> Iterator[Any]:
        if self._copy is None:
            yield self.network.model
            return
        import deepspeed  # noqa: PLC0415 - as above

        with torch.no_grad():
            for target, source in zip(
                self._copy.parameters(), self.network.model.parameters(), strict=True
            ):
                with deepspeed.zero.GatheredParameters([source]):
                    target.copy_(source)
        yield self._copy

    def save(self, folder: Path) -> None:
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)
        for script in folder.rglob("*.py"):  # which nobody of ours reads
            script.unlink()

    def load(self, folder: Path) -> None:
        self._engine.load_checkpoint(str(folder), tag=_TAG, load_lr_scheduler_states=False)


def _device(layout: Layout) -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if layout.gpu else torch.device("cpu")


def _set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _settings(config: Training, layout: Layout, accumulation: int) -> dict[str, Any]:
    """DeepSpeed's config; its batch sizes are for its own accounts, only the passes matter."""
    given = distributed.deepspeed_config(layout) or {}
    return given | {
        "gradient_clipping": config.max_grad_norm,
        "train_batch_size": accumulation * layout.world,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
    }
