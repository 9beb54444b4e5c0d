"""Fixtures of the tests of training by TRL."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, InputArtifact, Output
from autodidact_worker.stages import train_sft
from autodidact_worker.training import validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.trainers import grpo
from autodidact_worker.training.trainers.measuring import Measuring
from support import chain
from support.grpo_runs import RunGrpo
from support.training_rows import INSTRUCTIONS, QUESTIONS, SMALL, Run


@pytest.fixture
def run_trainer(tmp_path: Path, llama: Path) -> Run:
    """Runs a training stage on small rows and returns its folder and its output."""

    def call(
        kind: Any = train_sft, /, *, model: Path = llama, **fields: Any
    ) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        inputs = {"model": model}
        names = ("instructions", "evaluations", "questions", "pairs", "judge-pairs")
        names += ("positives-1", "positives-2")
        given = {k: fields.pop(k) for k in names if k in fields}
        if kind is train_sft and not given:
            given = {"instructions": INSTRUCTIONS}
        if fields.get("validation"):
            given["validation"] = QUESTIONS
        for name, values in given.items():
            inputs[name] = place / name
            inputs[name].mkdir(parents=True)
            file = "pairs-00000.jsonl" if "pairs" in name else rows.DATA
            rows.write(inputs[name] / file, values)
        where = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        make = chain.sft_config if kind is train_sft else chain.dpo_config
        out, scratch = place / "out", place / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        context = Context(
            config=make(**(SMALL | fields)),
            inputs={name: InputArtifact(path=path) for name, path in inputs.items()},
            out=out,
            scratch=scratch,
            namespace="team",
            key="0a1b",
            **where,
        )
        return out, kind.run(context)

    return call


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has models measured as a script says, by the step they are measured at."""

    def write(**accuracies: float) -> None:
        def measure(_: Measuring, trainer: Any, *__: Any) -> Any:
            value = accuracies[f"step{trainer.state.global_step}"]
            return SimpleNamespace(value=value, cut=0)

        real = Measuring.measure

        def scripted(self: Measuring, trainer: Any, layout: Layout) -> float:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(validation, "measure", lambda *_: measure(self, trainer))
                return real(self, trainer, layout)

        monkeypatch.setattr(Measuring, "measure", scripted)

    return write


@pytest.fixture
def trainer(run_grpo: RunGrpo, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer as the stage makes it, before its first step, without gradient accumulation."""
    made: list[Any] = []

    def take(trainer: Any) -> None:
        made.append(trainer)
        raise StoppedError

    monkeypatch.setattr(grpo.run, "run", take)
    with pytest.raises(StoppedError):
        run_grpo()
    made[0].current_gradient_accumulation_steps = 1
    return made[0]
