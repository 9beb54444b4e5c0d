"""Comparing replies: by an oracle, by a model, and by a server that may do anything."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.stages import Contest, Sampling, Server
from autodidact_worker import chat, contests, rubrics
from autodidact_worker.contests import Meeting
from autodidact_worker.errors import StageError, StoppedError, UserError
from autodidact_worker.generation import Request

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=6)
MEETINGS = [Meeting(prompt=f"say {i}", ours=f"good {i}", theirs=f"bad {i}") for i in range(6)]
Reply = tuple[int, dict[str, str], bytes]
Play = Callable[[dict[str, Any], int], Reply]
"""What a server answers to a body, given how many it had before."""


def said(text: str | None, finish: str = "stop") -> Reply:
    """Returns an answer of OpenAI's form."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice]}).encode()


class Played(ThreadingHTTPServer):
    """A server that answers as a test says.

    Attributes:
        play: Decides the answers.
        asked: Headers and body of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play: Play = lambda *_: said("Verdict: tie")
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def server(self) -> Server:
        """The server as a stage's config names it."""
        return Server(url=f"http://127.0.0.1:{self.server_port}/v1", model="judge-1")


class _Handler(BaseHTTPRequestHandler):
    server: Played

    def do_POST(self) -> None:
        """Answers as the test says."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(({"path": self.path, **dict(self.headers)}, body))
        status, headers, data = self.server.play(body, number)
        if status:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        else:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """A server, and a client that does not rest between attempts."""
    monkeypatch.setattr(chat, "PAUSE_S", 0.0)
    monkeypatch.setattr(chat, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.delenv("AUTODIDACT_SOURCE_CREDENTIALS", raising=False)
    server = Played()
    yield server
    server.shutdown()
    server.server_close()


def contest(**changes: Any) -> Contest:
    """A contest by the paper's rubric."""
    values: dict[str, Any] = {
        "rubric": "additive-v1",
        "judge": "model",
        "judge_sampling": SAMPLING,
        "reply_sampling": SAMPLING,
        "prompts": 6,
    }
    return Contest(**values | changes)


def judge(played: Played) -> contests.Judge:
    """The played server as a judge."""
    return contests.open_judge(contest(judge="server", server=played.server), seed=3)


def prefers_good(body: dict[str, Any], _: int) -> Reply:
    """Finds the good reply wherever it is shown."""
    text = body["messages"][0]["content"]
    return said(f"Because.\nVerdict: {'A' if text.index('good') < text.index('bad') else 'B'}")


def test_a_server_judges_both_orders(played: Played) -> None:
    """The better reply wins wherever it stands; equal replies are not asked about."""
    played.play = prefers_good
    equal = Meeting(prompt="say x", ours="x", theirs=" x\n")
    ticks: list[int] = []
    found = judge(played).compare([*MEETINGS, equal], ticks.append)
    assert found == [("win", "win")] * 6 + [("tie", "tie")]
    assert len(played.asked) == sum(ticks) == 12
    headers, body = played.asked[0]
    assert headers["path"] == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body.keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.7, 6)
    assert len({body["seed"] for _, body in played.asked}) == 12


def test_a_judge_that_always_says_the_same_lets_nobody_win(played: Played) -> None:
    """Who is shown first makes no difference to who wins."""
    played.play = lambda *_: said("Verdict: A")
    found = judge(played).compare(MEETINGS)
    assert found == [("win", "loss")] * 6
    assert {contests.result(verdicts) for verdicts in found} == {"tie"}


def test_a_judge_that_changes_its_answer_lets_nobody_win(played: Played) -> None:
    """Now the first is better, now it is a tie, whatever is asked: no two verdicts make a win."""
    played.play = lambda _, number: said("Verdict: A" if number % 2 else "Verdict: tie")
    found = judge(played).compare(MEETINGS)
    assert {verdict for verdicts in found for verdict in verdicts} >= {"tie"}
    assert {contests.result(verdicts) for verdicts in found} == {"tie"}


def test_the_key_is_shown_and_never_said(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from the mounted Secret, goes with every request, and is in no error."""
    (tmp_path / "apiKey").write_text("sk-very-secret\n")
    monkeypatch.setenv("AUTODIDACT_SOURCE_CREDENTIALS", str(tmp_path))
    played.play = lambda *_: (401, {}, b'{"error": "bad key"}')
    with pytest.raises(UserError, match=r"HTTP 401 .*bad key.*apiKey.*secretName") as caught:
        judge(played).compare(MEETINGS)
    assert caught.value.reason == "ServerRefused"
    assert "sk-very" not in str(caught.value)
    assert played.asked[0][0]["Authorization"] == "Bearer sk-very-secret"


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
def test_a_secret_without_a_key_is_the_users_to_fix(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """A Secret without apiKey, or with something that is no key."""
    if content is not None:
        (tmp_path / "apiKey").write_text(content)
    monkeypatch.setenv("AUTODIDACT_SOURCE_CREDENTIALS", str(tmp_path))
    with pytest.raises(UserError, match="no usable apiKey") as caught:
        judge(played)
    assert caught.value.reason == "InvalidSecret"


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, {}, "may use the model"),
        (404, {}, "ends in the version, or the model's name"),
        (307, {"Location": "http://127.0.0.1:9/"}, "the address that it leads to"),
    ],
)
def test_what_holds_for_every_prompt_is_the_users_to_fix(
    played: Played, status: int, headers: dict[str, str], words: str
) -> None:
    """Said once with address and model, without another attempt; no redirect is followed."""
    played.play = lambda *_: (status, headers, b"no")
    with pytest.raises(UserError, match=words) as caught:
        judge(played).compare(MEETINGS[:1])
    assert played.server.url in str(caught.value)
    assert "judge-1" in str(caught.value)
    assert len(played.asked) <= 2


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_a_server_that_is_busy_now_is_asked_again(played: Played, status: int) -> None:
    """The first answers are refusals, or none at all; then it judges as if nothing had been."""
    played.play = lambda body, number: (
        (status, {"Retry-After": "0"}, b"busy") if number < 2 else prefers_good(body, number)
    )
    assert judge(played).compare(MEETINGS) == [("win", "win")] * 6


def test_a_server_that_stays_busy_is_given_up(played: Played) -> None:
    """After five attempts the stage ends, to be tried again; the error has the last answer."""
    played.play = lambda *_: (503, {}, b"overloaded")
    with pytest.raises(StageError, match=r"in 5 attempts, at last: HTTP 503 overloaded") as caught:
        judge(played).compare(MEETINGS[:1])
    assert (caught.value.code, caught.value.reason) == ("retry", "ServerUnavailable")
    assert 5 <= len(played.asked) <= 10


def test_a_slow_server_is_given_up(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is silent for too long counts as one that is away."""
    monkeypatch.setattr(chat, "READ_S", 0.02)
    monkeypatch.setattr(chat, "ATTEMPTS", 2)
    over = threading.Event()

    def slow(*_: Any) -> Reply:
        over.wait(10)
        return 0, {}, b""

    played.play = slow
    with pytest.raises(StageError, match=r"in 2 attempts, at last: .*[Tt]imed out"):
        judge(played).compare(MEETINGS[:1])
    over.set()


def test_an_endless_answer_is_not_read(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than an answer may have is an answer that did not come."""
    monkeypatch.setattr(chat, "MAX_ANSWER_BYTES", 100)
    played.play = lambda *_: said("x" * 200)
    with pytest.raises(StageError, match="too large"):
        judge(played).compare(MEETINGS[:1])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (said("I like both."), "the replies end in no verdict"),
        (said(None), "no chat completion"),
        ((200, {}, b"<html>Welcome</html>"), "no chat completion: <html>Welcome</html>"),
        ((200, {}, b'{"choices": []}'), "no chat completion"),
        ((200, {}, b"[" * 100_000), "no chat completion"),
        ((400, {}, b"context length exceeded"), "HTTP 400 context length exceeded"),
    ],
)
def test_a_judge_of_nonsense_is_named(played: Played, reply: Reply, words: str) -> None:
    """When most verdicts cannot be read the error has address, numbers and the last words."""
    played.play = lambda *_: reply
    with pytest.raises(UserError, match=words) as caught:
        judge(played).compare(MEETINGS)
    assert caught.value.reason == "JudgeUnreadable"
    assert f"12 of 12 verdicts of the judge at {played.server.url}" in str(caught.value)


def test_a_few_unreadable_verdicts_are_ties(played: Played) -> None:
    """A judge that says nothing in one of the orders, now and then, goes on to judge."""
    played.play = lambda body, number: (
        said("No comment.")
        if "say 1\n" in body["messages"][0]["content"]
        else prefers_good(body, number)
    )
    found = judge(played).compare(MEETINGS)
    assert found[1] == ("invalid", "invalid")
    assert [contests.result(v) for v in found] == ["win", "tie", *["win"] * 4]


def test_a_judge_that_is_stopped_asks_no_more(played: Played) -> None:
    """Whoever stops the stage does not wait for what was not asked yet."""
    with pytest.raises(StoppedError):
        judge(played).compare(MEETINGS * 50, stopping=lambda: len(played.asked) > 2)
    assert len(played.asked) < 500


def test_completions_of_a_server_keep_their_order(played: Played) -> None:
    """Several samples of several prompts, whoever is answered first; what was cut is said."""
    played.play = lambda body, _: said(f"{body['messages'][0]['content']}!", "length")
    requests = [Request(id=f"{i}", prompt=f"p{i}", n=2, seed_key=f"{i}") for i in range(9)]
    found = chat.ChatGenerator(played.server).generate(requests, SAMPLING)
    assert [[one.text for one in pair] for pair in found] == [[f"p{i}!"] * 2 for i in range(9)]
    assert {one.finish for pair in found for one in pair} == {"length"}


def test_the_oracle_decides_without_sampling() -> None:
    """Letters in their place, one verdict a meeting."""
    toy = contests.open_judge(contest(judge="oracle", rubric="toy-copy-v1"), seed=0)
    meetings = [
        Meeting(prompt="Aabcde:", ours=ours, theirs=theirs)
        for ours, theirs in [("abcde", "abcdd"), ("x", "abcde"), ("abxxx", "axcxx")]
    ]
    assert toy.compare(meetings) == [("win",), ("loss",), ("tie",)]
    assert toy.orders == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": "oracle"}, "additive-v1 has no oracle"),
        ({"rubric": "toy-copy-v1"}, "no pairwise template"),
        ({}, "needs the input referee"),
        ({"judge": "server"}, "needs a server"),
    ],
)
def test_a_judge_that_is_not_there_is_said(changes: dict[str, Any], words: str) -> None:
    """Before anything is sampled."""
    with pytest.raises(UserError, match=words):
        contests.open_judge(contest(**changes), seed=0)


def test_a_comparison_that_is_too_long_is_a_tie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model cannot read it, and the other comparisons are not harmed."""
    from worker.tiny import write_llama  # noqa: PLC0415 - torch takes seconds

    short = dataclasses.replace(
        rubrics.get("additive-v1"), name="short-v1", pairwise="{prompt}|{a}|{b}?"
    )
    monkeypatch.setitem(rubrics._MAKERS, "short-v1", lambda _: short)
    path = write_llama(tmp_path, positions=40)
    model = contests.open_judge(contest(rubric="short-v1"), seed=0, referee=path)
    long = Meeting(prompt="say", ours="a" * 40, theirs="b")
    found = model.compare([long, MEETINGS[0]])
    assert found[0] == ("invalid", "invalid")
    assert len(found[1]) == 2
