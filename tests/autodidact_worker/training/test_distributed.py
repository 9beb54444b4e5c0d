from types import SimpleNamespace

import pytest
import torch

from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout


def test_wrong_layouts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer processes than the stage has, or an unknown engine, do not train silently."""
    monkeypatch.setenv("AUTODIDACT_WORLD_SIZE", "8")
    with pytest.raises(UserError, match="asks for 8 processes but 1 were started"):
        Layout.of_environment()
    monkeypatch.setenv("AUTODIDACT_WORLD_SIZE", "1")
    monkeypatch.setenv("AUTODIDACT_DEEPSPEED", "zero9")
    with pytest.raises(UserError, match="not none, zero2 or zero3"):
        Layout.of_environment()
    monkeypatch.setenv("AUTODIDACT_DEEPSPEED", "zero3")
    assert Layout.of_environment().deepspeed == "zero3"


@pytest.mark.parametrize(
    ("layout", "processes", "says"),
    [
        (Layout(world=2, gpu=False), 1, "2 processes were asked for, but accelerate has 1"),
        (Layout(world=1, gpu=False), 2, "1 processes were asked for, but accelerate has 2"),
        (Layout(deepspeed="zero3", gpu=False), 1, "DeepSpeedEngine was asked for, not Linear"),
    ],
)
def test_silent_fallbacks_are_noticed(layout: Layout, processes: int, says: str) -> None:
    """What trains is compared with what was asked."""
    model = torch.nn.Linear(1, 1)
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(num_processes=processes), model=model, model_wrapped=model
    )
    with pytest.raises(UserError, match=says):
        distributed.check_engine(trainer, layout)


def test_another_stage_of_zero_is_noticed() -> None:
    """DeepSpeed at work is not enough: it has to be the stage that was asked for."""

    class DeepSpeedEngine(torch.nn.Linear):
        def zero_optimization_stage(self) -> int:
            return 2

    engine = DeepSpeedEngine(1, 1)
    distributed.check(engine, engine, {}, Layout(deepspeed="zero2", gpu=False))
    with pytest.raises(UserError, match="zero3 was asked for, not ZeRO stage 2"):
        distributed.check(engine, engine, {}, Layout(deepspeed="zero3", gpu=False))
