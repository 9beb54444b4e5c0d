"""The engine that asks a server: a real one, and others that misbehave."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import Prompt
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.judging import GenerateResponses
from autodidact_worker import generation
from autodidact_worker.generation import Completion, Generator, Request
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError
from support.completion_servers import (
    ELSEWHERE,
    Answer,
    Scripted,
    completion,
    listing,
    transformers_serve,
)
from support.openai_engine import GREEDY, opened, requests
from support.worker import Bench

DRAWN = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=8)


KEY = "sk-canary-4711"


ARTIFACT = f"train-sft-{1:032x}"


@pytest.fixture(scope="module")
def penalised(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that declares all small letters as its ends, and settings nobody asked for."""
    folder = shutil.copytree(llama, tmp_path_factory.mktemp("models") / "penalised")
    settings = {"eos_token_id": [1, *range(4, 30)], "repetition_penalty": 5.0, "top_k": 1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def serve(llama: Path, penalised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real server."""
    served = {llama.name: llama, penalised.name: penalised, ARTIFACT: llama}
    with transformers_serve(tmp_path_factory.mktemp("serve"), served) as url:
        yield url


@pytest.fixture
def real(serve: str, llama: Path) -> Generator:
    """The engine on a real server that has the tiny model."""
    return opened(llama, serve)


def test_a_server_and_this_process_take_the_same_most_likely_tokens(
    real: Generator, llama: Path
) -> None:
    """Greedy completions of transformers serve are those of the engine in this process."""
    asked = requests(6)
    here = generation.load(llama, {}).generate(asked, GREEDY)
    there = real.generate(asked, GREEDY)
    assert [[one.text for one in row] for row in there] == [[o.text for o in row] for row in here]
    assert [[one.finish for one in row] for row in there] == [
        [one.finish for one in row] for row in here
    ]
    assert real.engine.startswith("openai http://127.0.0.1")


def test_a_server_draws_samples(real: Generator) -> None:
    """Samples of one prompt differ; one alone is the same again, by its seed."""
    [samples] = real.generate(requests(1, n=12), DRAWN)
    assert len({one.text for one in samples}) > 6
    assert all(one.tokens <= 8 for one in samples)
    again = [real.generate(requests(1), DRAWN) for _ in range(2)]
    assert again[0] == again[1]


def test_the_end_tokens_of_a_model_end_its_replies(serve: str, penalised: Path) -> None:
    """Ends that a model declares end a reply there as here, and its penalties do not count."""
    asked = requests(4)
    here = generation.load(penalised, {}).generate(asked, GREEDY)
    there = opened(penalised, serve).generate(asked, GREEDY)
    assert "stop" in {row[0].finish for row in here}
    assert [row[0].tokens for row in there] == [row[0].tokens for row in here]
    # These ends are letters, which that server leaves in the text.
    assert [row[0].text[: row[0].tokens] for row in there] == [row[0].text for row in here]


def test_a_model_that_is_not_served_is_not_sampled(serve: str, llama: Path, tmp_path: Path) -> None:
    """Nothing else is sampled in its name; another attempt may find it."""
    other = shutil.copytree(llama, tmp_path / "another")
    with pytest.raises(StageError, match="not another, which is this stage's") as caught:
        opened(other, serve)
    assert (caught.value.reason, caught.value.code) == ("ModelNotServed", "retry")


def test_a_stage_samples_from_a_server(
    serve: str, bench: Bench, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is the artifact of that name, and the manifest says what sampled."""
    model = bench.put("train-sft", llama)
    assert model.artifact == ARTIFACT
    monkeypatch.setenv("AUTODIDACT_ENGINE", "openai")
    monkeypatch.setenv("AUTODIDACT_ENGINE_URL", serve)
    prompts = bench.put("prompts", {"prompts-00000.jsonl": _rows("abc", "xyz")})
    made = bench.run(GenerateResponses(per_prompt=2, sampling=DRAWN), model=model, prompts=prompts)
    assert bench.result(made).counts["responses"] == 4
    assert bench.manifest(made).engine == f"openai {serve}"


def _rows(*prompts: str) -> bytes:
    rows = [Prompt(id=text, prompt=text, demonstrations=(), rouge_max=0) for text in prompts]
    return b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in rows)


def test_a_server_like_vllms_takes_and_gives_tokens(script: Scripted, llama: Path) -> None:
    """Prompts are tokens, every sample has a seed of its own, and texts are made of the tokens."""
    tokens = loading.load_tokenizer(llama)("xyz").input_ids
    script.models = listing(llama.name, max_model_len=100)
    script.reply = lambda _: (
        200,
        {
            "model": llama.name,
            "choices": [{"text": "?", "finish_reason": "stop", "token_ids": [*tokens, 1]}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
            "system_fingerprint": "vllm-0.32.0-tp1",
        },
    )
    generator = opened(llama, script.url)
    assert generator.fits("a" * 92, DRAWN)
    assert not generator.fits("a" * 93, DRAWN)  # the server's context, not the model's 2048
    [found] = generator.generate(requests(1, n=3), DRAWN)
    wanted = Completion(text="xyz", tokens=3, finish="stop", ids=(*tokens, 1))
    assert found == [wanted] * 3
    body = script.asked[0]
    seeds = [asked["seed"] for asked in script.asked]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    del body["seed"]
    assert body == {
        "model": llama.name,
        "prompt": loading.prompt_ids(loading.load_tokenizer(llama), "abc"),
        "max_tokens": 8,
        "temperature": 0.8,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [1],
        "return_token_ids": True,
    }
    assert generator.engine == f"openai {script.url} vllm-0.32.0-tp1"


def test_a_plain_server_is_asked_for_what_the_api_has(script: Scripted, llama: Path) -> None:
    """What it refuses is left out; the end token that it counted is no token of the reply."""
    plain = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed"}

    def reply(body: dict[str, Any]) -> Answer:
        if extra := set(body) - plain:
            return 400, {"error": {"message": f"Unrecognized request arguments: {extra}"}}
        status, answer = completion(llama.name, "hello")
        return status, {**answer, "usage": {"prompt_tokens": 3, "completion_tokens": 6}}

    script.reply = reply
    [[found]] = opened(llama, script.url).generate(requests(1), DRAWN)
    assert found == Completion(text="hello", tokens=5, finish="stop")
    assert script.asked[-1]["prompt"] == "abc"
    assert [set(body) <= plain for body in script.asked] == [False, False, True]


@pytest.mark.parametrize(
    ("answer", "reason", "code", "message"),
    [
        ((503, b"busy"), "EngineUnavailable", "retry", "HTTP 503 busy"),
        ((500, {"error": "x"}), "EngineUnavailable", "retry", "HTTP 500"),
        ((400, {"error": "nonsense asked"}), "EngineRefused", "user", "HTTP 400 .*nonsense asked"),
        ((307, {}, ELSEWHERE), "EngineRefused", "user", "HTTP 307"),
        ((404, {"error": "no model"}), "ModelNotServed", "retry", "serves .* no more"),
        ((200, b"<html>hello</html>"), "InvalidReply", "retry", "answered '<html>hello"),
        ((200, {"model": "m", "choices": []}), "InvalidReply", "retry", "choices"),
        (completion("gpt-9"), "ModelNotServed", "retry", "and sampled from gpt-9"),
    ],
)
def test_what_a_server_may_answer(
    script: Scripted, llama: Path, answer: Answer, reason: str, code: str, message: str
) -> None:
    """Each answer that is no completion has a reason, and a remedy or another attempt."""
    generator = opened(llama, script.url)
    script.reply = lambda _: answer
    with pytest.raises(StageError, match=message) as caught:
        generator.generate(requests(1), GREEDY)
    assert (caught.value.reason, caught.value.code) == (reason, code)


@pytest.mark.parametrize(
    ("choice", "usage", "reason", "message"),
    [
        ({"finish_reason": "content_filter"}, {}, "InvalidReply", "finish_reason"),
        ({"text": None}, {}, "InvalidReply", "text"),
        ({"token_ids": [5] * 9}, {}, "InvalidReply", "sampled 9 tokens where at most 8"),
        ({}, {"prompt_tokens": 4}, "PromptMisread", "reads 4 tokens in a prompt of 3"),
    ],
)
def test_completions_that_are_none(
    script: Scripted,
    llama: Path,
    choice: dict[str, Any],
    usage: dict[str, int],
    reason: str,
    message: str,
) -> None:
    """A reply is refused that is not an answer to this prompt."""
    generator = opened(llama, script.url)
    status, answer = completion(llama.name, **choice)
    script.reply = lambda _: (status, {**answer, "usage": usage})
    with pytest.raises(StageError, match=message) as caught:
        generator.generate(requests(1), GREEDY)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("models_", "reason", "message"),
    [
        ((401, {}), "EngineDenied", "apiKey of the Secret that engineSecretName"),
        ((404, {}), "InvalidEngine", "engineUrl of the ComputeProfile must be the base"),
        ((200, {"models": ["a"]}), "InvalidReply", "data Field required"),
        (listing("a", "b"), "ModelNotServed", "serves a, b, not llama"),
        (listing(), "ModelNotServed", "serves no model, not llama"),
    ],
)
def test_servers_without_the_model(
    script: Scripted, llama: Path, models_: Answer, reason: str, message: str
) -> None:
    """A server is asked what it serves before it is asked for anything else."""
    script.models = models_
    with pytest.raises(StageError, match=message) as caught:
        opened(llama, script.url)
    assert caught.value.reason == reason
    assert script.asked == []


def test_the_key_is_sent_and_told_nobody(
    script: Scripted, llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes from a file, goes into one header, and a server that repeats it is not quoted."""
    (tmp_path / "apiKey").write_text(f"{KEY}\n")
    caplog.set_level(logging.DEBUG)
    generator = opened(llama, script.url, tmp_path)
    script.reply = lambda _: (401, {"error": f"{KEY} is not a key of ours"})
    with pytest.raises(UserError, match="apiKey of the Secret") as caught:
        generator.generate(requests(1), GREEDY)
    assert caught.value.reason == "EngineDenied"
    assert {sent["Authorization"] for sent in script.headers} == {f"Bearer {KEY}"}
    assert KEY not in str(caught.value) + caplog.text + generator.engine
    assert "*** is not a key of ours" in str(caught.value)


def test_a_secret_without_the_key(script: Scripted, llama: Path, tmp_path: Path) -> None:
    """The message names the key that a Secret must have."""
    with pytest.raises(UserError, match="no usable apiKey"):
        opened(llama, script.url, tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_a_silent_server_does_not_hold_a_stage_that_is_asked_to_stop(
    script: Scripted, llama: Path, first: int
) -> None:
    """What was asked of it is left to itself."""
    generator = opened(llama, script.url)
    generator.generate(requests(1), GREEDY)
    script.asked.clear()
    silence = threading.Event()

    def reply(_: dict[str, Any]) -> Answer:
        if len(script.asked) > first:
            silence.wait(60)
        return completion(llama.name)

    script.reply = reply
    try:
        with pytest.raises(StoppedError):
            generator.generate(requests(3), GREEDY, stopping=lambda: len(script.asked) > first)
    finally:
        silence.set()


def test_completions_come_in_order_of_their_requests(script: Scripted, llama: Path) -> None:
    """Whichever is answered first, every request gets its own."""
    tokenizer = loading.load_tokenizer(llama)

    def reply(body: dict[str, Any]) -> Answer:
        return completion(llama.name, token_ids=[*body["prompt"][:8]])

    script.reply = reply
    prompts = [letter * 3 for letter in "abcdefghij"]
    asked: Sequence[Request] = [Request(id=p, prompt=p, n=2, seed_key=p) for p in prompts]
    ticks: list[int] = []
    found = opened(llama, script.url).generate(asked, GREEDY, ticks.append)
    assert [[one.text for one in row] for row in found] == [[p, p] for p in prompts]
    assert sum(ticks) == 20
    assert tokenizer.decode(found[0][0].ids) == "aaa"


def test_engines_have_names(llama: Path) -> None:
    """Another name is refused with those there are."""
    with pytest.raises(UserError, match="not transformers, vllm or openai") as caught:
        generation.load(llama, {"AUTODIDACT_ENGINE": "tgi"})
    assert caught.value.reason == "InvalidEngine"
    made: Callable[..., Generator] = generation.load
    assert made(llama, {}).engine.startswith("transformers 5.")
