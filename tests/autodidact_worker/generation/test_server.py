from contextlib import nullcontext
from pathlib import Path

import pytest

from autodidact_worker.generation import server
from autodidact_worker.runtime.errors import StageError
from support.completion_servers import (
    Answer,
    Scripted,
    completion,
)
from support.openai_engine import GREEDY, opened, requests


def test_a_server_that_is_away_for_a_moment_is_waited_for(script: Scripted, llama: Path) -> None:
    """Too many requests and a gateway's errors are asked again."""
    answers: list[Answer] = [(429, {}), (503, b"<html>"), completion(llama.name)]
    script.reply = lambda _: answers.pop(0)
    [[found]] = opened(llama, script.url).generate(requests(1), GREEDY)
    assert found.text == "abc"


@pytest.mark.parametrize(
    ("most_s", "patience_s", "times"),
    [(0.0, 60.0, 2), (30.0, 15.0, 1)],
)
def test_a_server_may_ask_for_a_pause(
    script: Scripted,
    llama: Path,
    monkeypatch: pytest.MonkeyPatch,
    most_s: float,
    patience_s: float,
    times: int,
) -> None:
    """Up to a limit; nobody waits for a pause that is longer than patience."""
    monkeypatch.setattr(server, "LONGEST_PAUSE_S", most_s)
    monkeypatch.setattr(server, "PATIENCE_S", patience_s)
    answers: list[Answer] = [(429, b"slowly", {"Retry-After": "9" * 400}), completion(llama.name)]
    script.reply = lambda _: answers.pop(0)
    generator = opened(llama, script.url)
    with nullcontext() if times == 2 else pytest.raises(StageError, match="HTTP 429 slowly"):
        generator.generate(requests(1), GREEDY)
    assert len(script.asked) == times


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "InvalidEngine"),
        ("ftp://models/v1", "InvalidEngine"),
        ("http://127.0.0.1:1/v1", "EngineUnavailable"),
    ],
)
def test_addresses_without_a_server(
    llama: Path, url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is none is refused; a server that is away may come back."""
    monkeypatch.setattr(server, "PATIENCE_S", 0.1)
    with pytest.raises(StageError) as caught:
        opened(llama, url)
    assert caught.value.reason == reason
