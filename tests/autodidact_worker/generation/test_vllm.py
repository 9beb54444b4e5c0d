"""The vLLM engine: against the calls that vLLM documents, and against vLLM where it is installed.

vLLM and the trainers cannot share an environment. To run the last tests, make one with vLLM (its
build for CPUs will do) and the ``vllm`` extra's other packages, and name this file to its pytest.
"""

import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import Prompt, Response
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.judging import GenerateResponses
from autodidact_contract.stages.registry import SAMPLING as KINDS
from autodidact_worker import generation
from autodidact_worker.generation import Generator, Request
from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError
from support.tiny import write_llama

GREEDY = Sampling(temperature=0, top_p=1, max_new_tokens=6)
DRAWN = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=6)
VLLM = {"AUTODIDACT_ENGINE": "vllm"}
TRAINERS = ("trl", "deepspeed", "peft", "datasets", "matplotlib")


def requests(count: int, n: int = 1) -> list[Request]:
    """Prompts of different lengths."""
    return [Request(id=str(i), prompt="abc" * (i + 1), n=n, seed_key=str(i)) for i in range(count)]


class SamplingParams(types.SimpleNamespace):
    """``vllm.SamplingParams`` takes names."""


class LLM:
    """``vllm.LLM`` that completes a prompt with its seed's last digit and the end token."""

    made: Sequence["LLM"] = ()
    fitted = 2048
    error: Exception | None = None
    homeless = False

    def __init__(self, **arguments: Any) -> None:
        if LLM.error:
            raise LLM.error
        LLM.made = (*LLM.made, self)
        self.arguments = arguments
        self.model_config = types.SimpleNamespace(max_model_len=LLM.fitted)
        self.calls: list[tuple[list[Any], list[SamplingParams]]] = []

    def generate(
        self, prompts: list[Any], sampling_params: list[SamplingParams], *, use_tqdm: bool
    ) -> list[Any]:
        """Answers in the order of the prompts."""
        assert not use_tqdm
        self.calls.append((prompts, sampling_params))
        return [
            types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=[4 + p.seed % 10, 1])])
            for p in sampling_params
        ]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LLM]]:
    """VLLM's documented calls, and nothing behind them."""
    name = "autodidact_worker.generation.vllm"
    found, platforms = types.ModuleType("vllm"), types.ModuleType("vllm.platforms")
    found.__dict__.update(LLM=LLM, SamplingParams=SamplingParams, __version__="0.32.0")
    here = types.SimpleNamespace(is_unspecified=lambda: LLM.homeless)
    platforms.__dict__.update(current_platform=here)
    monkeypatch.setitem(sys.modules, "vllm", found)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr(LLM, "made", ())
    kept = sys.modules.pop(name, None)
    yield LLM
    loading.forget()
    del sys.modules[name]
    if kept:
        sys.modules[name] = kept


def test_the_model_is_loaded_once_and_as_ours(scripted: type[LLM], llama: Path) -> None:
    """Weights are safetensors, no code of the model's runs, and its own defaults do not count."""
    first, again = generation.load(llama, VLLM), generation.load(llama, VLLM)
    assert again is first
    [llm] = scripted.made
    assert llm.arguments == {
        "model": str(llama),
        "trust_remote_code": False,
        "load_format": "safetensors",
        "dtype": "float32",
        "tensor_parallel_size": 1,
        "enable_prefix_caching": True,
        "max_model_len": -1,
        "generation_config": "vllm",
    }
    assert first.engine == "vllm 0.32.0"


def test_every_sample_is_a_request_of_its_own(scripted: type[LLM], llama: Path) -> None:
    """Prompts are tokens; seeds differ, and completions go to whom they belong."""
    asked = requests(3, n=2)
    found = generation.load(llama, VLLM).generate(asked, DRAWN)
    [(prompts, parameters)] = scripted.made[0].calls
    assert [len(prompt["prompt_token_ids"]) for prompt in prompts] == [9, 9, 6, 6, 3, 3]
    assert vars(parameters[0]) == {
        "temperature": 0.8,
        "top_p": 0.95,
        "max_tokens": 6,
        "seed": parameters[0].seed,
        "stop_token_ids": [1],
        "detokenize": False,
    }
    assert len({one.seed for one in parameters}) == 6
    tokens = [(4 + one.seed % 10, 1) for one in parameters]
    assert [one.ids for row in reversed(found) for one in row] == tokens
    assert all(one.finish == "stop" and one.tokens == 1 for row in found for one in row)


def test_the_context_is_what_the_cache_has_room_for(
    scripted: type[LLM], llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VLLM may have lowered it; a prompt beyond it is not sent."""
    monkeypatch.setattr(LLM, "fitted", 20)
    generator = generation.load(llama, VLLM)
    assert generator.fits("a" * 14, DRAWN)
    assert not generator.fits("a" * 15, DRAWN)
    with pytest.raises(UserError, match="exceeds the model's context of 20"):
        generator.generate(requests(6), DRAWN)
    assert scripted.made[0].calls == []


def test_sampling_stops_between_calls(
    scripted: type[LLM], llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call at work is finished, the next one is not begun."""
    generator = generation.load(llama, VLLM)
    monkeypatch.setattr(sys.modules[type(generator).__module__], "CALL_ROWS", 2)
    made: list[int] = []
    with pytest.raises(StoppedError):
        generator.generate(requests(6), DRAWN, made.append, lambda: sum(made) == 4)
    assert made == [2, 2]
    assert len(scripted.made[0].calls) == 2


def test_a_model_that_vllm_does_not_know(
    scripted: type[LLM], llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying again would not help; an engine that broke may work the next time."""
    monkeypatch.setattr(LLM, "error", ValueError("unsupported architecture"))
    with pytest.raises(UserError, match=r"vLLM cannot load .*unsupported architecture"):
        generation.load(llama, VLLM)
    monkeypatch.setattr(LLM, "error", RuntimeError("engine core died"))
    with pytest.raises(RuntimeError):
        generation.load(llama, VLLM)
    assert scripted.made == ()


def test_a_pod_without_a_gpu(
    scripted: type[LLM], llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said with its remedy, before vLLM fails over it; another node may have one."""
    monkeypatch.setattr(LLM, "homeless", True)
    with pytest.raises(StageError, match=r"no GPU.* ComputeProfile") as caught:
        generation.load(llama, VLLM)
    assert (caught.value.code, caught.value.reason) == ("retry", "NoAccelerator")
    assert scripted.made == ()


@pytest.mark.training
def test_stages_that_sample_need_no_trainer() -> None:
    """They are imported, with the reranker's, where the trainers' libraries are not installed."""
    stages = sorted({*KINDS, "rerank-answers", "evaluate-answers"})
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({TRAINERS!r}))
for stage in {stages!r}:
    importlib.import_module("autodidact_worker.stages." + stage.replace("-", "_"))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)


# vLLM itself

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed: it and the trainers cannot share an environment",
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose heads are as wide as vLLM's kernels want them."""
    return write_llama(tmp_path_factory.mktemp("wide"), width=128)


@pytest.fixture(scope="module")
def real(wide: Path) -> Iterator[Generator]:
    """VLLM on the tiny model."""
    yield generation.load(wide, VLLM)
    loading.forget()


@needs_vllm
def test_samples_of_vllm_do_not_depend_on_batches(real: Generator) -> None:
    """The same requests one by one give the same completions, by their seeds."""
    asked = requests(4, n=3)
    together = real.generate(asked, DRAWN)
    assert [real.generate([one], DRAWN)[0] for one in asked] == together
    assert len({one.ids for one in together[0]}) > 1


@needs_vllm
def test_vllm_and_transformers_take_the_same_most_likely_tokens(
    real: Generator, wide: Path
) -> None:
    """Greedy completions are equal, token by token."""
    from autodidact_worker.generation.transformers import TransformersGenerator  # noqa: PLC0415

    found = real.generate(requests(4), GREEDY)
    here = TransformersGenerator(*loading._load(wide)).generate(requests(4), GREEDY)
    assert found == here


@needs_vllm
def test_a_stage_that_vllm_samples_comes_to_its_end(wide: Path, tmp_path: Path) -> None:
    """The worker writes its artifact and ends, although vLLM works in processes of its own."""
    (tmp_path / "prompts").mkdir()
    asked = [Prompt(id=str(i), prompt="abc", demonstrations=(), rouge_max=0) for i in range(4)]
    rows.write(tmp_path / "prompts" / "prompts-00000.jsonl", asked)
    config = GenerateResponses(per_prompt=2, sampling=DRAWN)
    (tmp_path / "config.json").write_text(json.dumps(config.dump()))
    command = [sys.executable, "-m", "autodidact_worker", "generate-responses"]
    command += ["--config", str(tmp_path / "config.json"), "--out", str(tmp_path / "out")]
    command += ["--input", f"model={wide}", "--input", f"prompts={tmp_path / 'prompts'}"]
    subprocess.run(command, env={**os.environ, **VLLM}, check=True, timeout=240)
    assert len(rows.read(tmp_path / "out" / "responses-00000.jsonl", Response)) == 8
