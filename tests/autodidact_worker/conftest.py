"""Fixtures of the worker's tests: the sampling stages, and a rubric in few words."""

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import AnswerSample, Problem
from autodidact_contract.stages.data import Import
from autodidact_contract.task import StageTask
from autodidact_worker import process
from autodidact_worker.judging import rubrics
from autodidact_worker.runtime import frame, rows
from autodidact_worker.runtime.frame import Context, InputArtifact, Output
from autodidact_worker.stages import import_, train_sft
from support import chain, online_stages
from support.grpo_runs import RunGrpo
from support.imports import BringIn
from support.offline_stages import reranker_config
from support.online_stages import grpo_config
from support.ppo_runs import RunPpo
from support.reranked import Train, samples
from support.sampling_stages import (
    judged,
    pairs_config,
    parts,
    small_stages,
)
from support.training_rows import INSTRUCTIONS, QUESTIONS, SMALL, Run


@pytest.fixture
def short_rubric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a rubric that reads scores as the real one does but asks in few words."""
    made = dataclasses.replace(
        rubrics.get("additive-v1"),
        name="short-v1",
        judge="{prompt}|{response}:",
        pairwise="{prompt}|{a}|{b}?",
    )
    monkeypatch.setitem(rubrics.MAKERS, "short-v1", lambda _: made)


@pytest.fixture
def stages(bench: Any, llama: Path, other_llama: Path) -> dict[str, Any]:
    """Each sharded or sampling stage with small inputs: name -> (config, inputs)."""
    return small_stages(bench, llama, other_llama)


@pytest.fixture
def train(tmp_path: Path, llama: Path) -> Train:
    """Trains a reranker and returns its folder and its output."""

    def call(
        given: list[AnswerSample] | None = None, model: Path = llama, **fields: Any
    ) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        where = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        inputs = {"model": model, "samples": place / "samples"}
        inputs["samples"].mkdir(parents=True)
        rows.write_parts(inputs["samples"], "samples", given or samples(12))
        output = online_stages.run(reranker_config(**fields), inputs, place, **where)
        return place / "out", output

    return call


@pytest.fixture
def bring_in(tmp_path: Path) -> BringIn:
    """Runs the stage and returns its folder and its output."""

    def call(uri: object, content: str, seed: int = 0, **fields: Any) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        out, scratch = place / "out", place / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        config = Import(uri=str(uri), content=content, seed=seed)
        context = Context(config=config, inputs={}, out=out, scratch=scratch, **fields)
        return out, import_.run(context)

    return call


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data file from rows or lines."""

    def write(*lines: Any) -> Path:
        path = tmp_path / "data.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts))
        return path

    return write


@pytest.fixture
def pairs(bench: Any) -> StageTask:
    """A small stage without a model."""
    values = [judged(0, 0, 5.0), judged(0, 1, 1.0)]
    given = bench.put("judge", parts("judged", values))
    return StageTask(name="build-pairs-1", config=pairs_config(), inputs={"judged": given})


@pytest.fixture
def environ(bench: Any, pairs: StageTask, tmp_path: Path) -> dict[str, str]:
    """What a Job's container sees."""
    return {
        "AUTODIDACT_TASK": json.dumps(bench.task(pairs).dump()),
        "AUTODIDACT_STORE": bench.uri,
        "AUTODIDACT_SCRATCH": str(tmp_path / "scratch"),
        "TERMINATION_LOG": str(tmp_path / "result.json"),
    }


@pytest.fixture
def keep_signals_and_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run from the environment takes SIGTERM over and hides DeepSpeed; both end with the test."""
    monkeypatch.setattr(process, "hide_deepspeed", lambda *_: None)
    monkeypatch.setattr(frame, "POLL_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def ppo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that is right now and then."""
    return online_stages.write_model(tmp_path_factory.mktemp("six"))


@pytest.fixture
def run_ppo(tmp_path: Path, ppo_model: Path) -> RunPpo:
    """Runs the stage and returns its folder and its output."""
    places: Iterator[int] = iter(range(1000))

    def call(
        problems: Sequence[Problem] = online_stages.PROBLEMS,
        model: Path = ppo_model,
        **fields: Any,
    ) -> tuple[Path, Output]:
        place = tmp_path / f"run-{next(places)}"
        inputs = {"model": model, **online_stages.write_inputs(place, problems)}
        more = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        output = online_stages.run(online_stages.ppo_config(**fields), inputs, place, **more)
        return place / "out", output

    return call


@pytest.fixture(scope="module")
def toy_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the toy's model, untrained."""
    folder = tmp_path_factory.mktemp("start")
    from autodidact_worker.toys import sums  # noqa: PLC0415 - torch takes seconds

    sums.write_model(folder, 0)
    return folder


@pytest.fixture
def run_grpo(tmp_path: Path, toy_start: Path) -> RunGrpo:
    """Runs the stage and returns its folder and its output."""

    def call(**fields: Any) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        where = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        inputs = {"model": toy_start, **online_stages.write_inputs(place / "inputs")}
        output = online_stages.run(grpo_config(**fields), inputs, place, **where)
        return place / "out", output

    return call


@pytest.fixture(scope="module")
def online_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that is right now and then."""
    return online_stages.write_model(tmp_path_factory.mktemp("six"))


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
