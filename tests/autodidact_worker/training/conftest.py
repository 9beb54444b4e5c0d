"""Fixtures of the tests of training by TRL."""

from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, InputArtifact, Output
from autodidact_worker.stages import train_sft
from support import chain
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
