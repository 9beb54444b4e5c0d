"""Comparing replies: by an oracle, by a model, and by a server that may do anything."""

import dataclasses
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.stages.base import Sampling, Server
from autodidact_contract.stages.judging import Contest
from autodidact_worker.generation import Request, chat, server
from autodidact_worker.judging import contests, rubrics
from autodidact_worker.judging.contests import Meeting
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError
from support.completion_servers import ELSEWHERE, Answer, Scripted, said, scripted

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=6)
MEETINGS = [Meeting(prompt=f"say {i}", ours=f"good {i}", theirs=f"bad {i}") for i in range(6)]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A server that judges, and little patience with it."""
    monkeypatch.setattr(server, "PATIENCE_S", 0.5)
    monkeypatch.delenv("AUTODIDACT_SOURCE_CREDENTIALS", raising=False)
    with scripted("judge-1") as found:
        found.reply = lambda _: said("Verdict: tie")
        yield found


def named(played: Scripted) -> Server:
    """The server as a stage's config names it."""
    return Server(url=played.url, model="judge-1")


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


def judge(played: Scripted) -> contests.Judge:
    """The played server as a judge."""
    return contests.open_judge(contest(judge="server", server=named(played)), seed=3)


def prefers_good(body: dict[str, Any]) -> Answer:
    """Finds the good reply wherever it is shown."""
    text = body["messages"][0]["content"]
    return said(f"Because.\nVerdict: {'A' if text.index('good') < text.index('bad') else 'B'}")


def test_a_server_judges_both_orders(played: Scripted) -> None:
    """The better reply wins wherever it stands; equal replies are not asked about."""
    played.reply = prefers_good
    equal = Meeting(prompt="say x", ours="x", theirs=" x\n")
    ticks: list[int] = []
    found = judge(played).compare([*MEETINGS, equal], ticks.append)
    assert found == [("win", "win")] * 6 + [("tie", "tie")]
    assert len(played.asked) == sum(ticks) == 12
    assert set(played.paths) == {"/v1/chat/completions"}
    assert not any("Authorization" in headers for headers in played.headers)
    body = played.asked[0]
    assert body.keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.7, 6)
    assert len({body["seed"] for body in played.asked}) == 12


def test_a_judge_that_always_says_the_same_lets_nobody_win(played: Scripted) -> None:
    """Who is shown first makes no difference to who wins."""
    played.reply = lambda _: said("Verdict: A")
    found = judge(played).compare(MEETINGS)
    assert found == [("win", "loss")] * 6
    assert {contests.result(verdicts) for verdicts in found} == {"tie"}


def test_a_judge_that_changes_its_answer_lets_nobody_win(played: Scripted) -> None:
    """Now the first is better, now it is a tie, whatever is asked: no two verdicts make a win."""
    numbers = itertools.count()
    played.reply = lambda _: said("Verdict: A" if next(numbers) % 2 else "Verdict: tie")
    found = judge(played).compare(MEETINGS)
    assert {verdict for verdicts in found for verdict in verdicts} >= {"tie"}
    assert {contests.result(verdicts) for verdicts in found} == {"tie"}


def test_the_key_is_shown_and_never_said(
    played: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from the mounted Secret, goes with every request, and is in no error."""
    (tmp_path / "apiKey").write_text("sk-very-secret\n")
    monkeypatch.setenv("AUTODIDACT_SOURCE_CREDENTIALS", str(tmp_path))
    played.reply = lambda _: (401, {"error": "bad key, sk-very-secret"})
    with pytest.raises(UserError, match=r"HTTP 401 .*bad key.*apiKey.*secretName") as caught:
        judge(played).compare(MEETINGS)
    assert caught.value.reason == "ServerRefused"
    assert "sk-very" not in str(caught.value)
    assert played.headers[0]["Authorization"] == "Bearer sk-very-secret"


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
def test_a_secret_without_a_key_is_the_users_to_fix(
    played: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
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
        (405, {}, "ends in the version"),
        (307, ELSEWHERE, "the address that it leads to"),
    ],
)
def test_what_holds_for_every_prompt_is_the_users_to_fix(
    played: Scripted, status: int, headers: dict[str, str], words: str
) -> None:
    """Said once with address and model, without another attempt; no redirect is followed."""
    played.reply = lambda _: (status, b"no", headers)
    with pytest.raises(UserError, match=words) as caught:
        judge(played).compare(MEETINGS[:1])
    assert played.url in str(caught.value)
    assert "judge-1" in str(caught.value)
    assert len(played.asked) <= 2


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_a_server_that_is_busy_now_is_asked_again(played: Scripted, status: int) -> None:
    """The first answers are refusals, or none at all; then it judges as if nothing had been."""
    numbers = itertools.count()
    played.reply = lambda body: (
        (status, b"busy", {"Retry-After": "0"}) if next(numbers) < 2 else prefers_good(body)
    )
    assert judge(played).compare(MEETINGS) == [("win", "win")] * 6


def test_a_server_that_stays_busy_is_given_up(played: Scripted) -> None:
    """When patience ends so does the stage, to be tried again; the error has the last answer."""
    played.reply = lambda _: (503, b"overloaded")
    with pytest.raises(StageError, match="/chat/completions: HTTP 503 overloaded") as caught:
        judge(played).compare(MEETINGS[:1])
    assert (caught.value.code, caught.value.reason) == ("retry", "ServerUnavailable")
    assert len(played.asked) > 2


def test_a_slow_server_is_given_up(played: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is silent for too long counts as one that is away."""
    monkeypatch.setattr(chat, "ANSWER_S", 0.02)
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)
    over = threading.Event()

    def slow(_: dict[str, Any]) -> Answer:
        over.wait(10)
        return 0, b""

    played.reply = slow
    with pytest.raises(StageError, match=r"/chat/completions: .*[Tt]imed out"):
        judge(played).compare(MEETINGS[:1])
    over.set()


def test_an_endless_answer_is_not_read(played: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than an answer may have is an answer that did not come."""
    monkeypatch.setattr(server, "MAX_REPLY_BYTES", 100)
    played.reply = lambda _: said("x" * 200)
    with pytest.raises(StageError, match="too large"):
        judge(played).compare(MEETINGS[:1])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (said("I like both."), "the replies end in no verdict"),
        (said(None), "no chat completion"),
        ((200, b"<html>Welcome</html>"), "no chat completion: <html>Welcome</html>"),
        ((200, b'{"choices": []}'), "no chat completion"),
        ((200, b"[" * 100_000), "no chat completion"),
        ((400, b"context length exceeded"), "HTTP 400 context length exceeded"),
    ],
)
def test_a_judge_of_nonsense_is_named(played: Scripted, reply: Answer, words: str) -> None:
    """When most verdicts cannot be read the error has address, numbers and the last words."""
    played.reply = lambda _: reply
    with pytest.raises(UserError, match=words) as caught:
        judge(played).compare(MEETINGS)
    assert caught.value.reason == "JudgeUnreadable"
    assert f"12 of 12 verdicts of the judge at {played.url}" in str(caught.value)


def test_a_few_unreadable_verdicts_are_ties(played: Scripted) -> None:
    """A judge that says nothing in one of the orders, now and then, goes on to judge."""
    played.reply = lambda body: (
        said("No comment.") if "say 1\n" in body["messages"][0]["content"] else prefers_good(body)
    )
    found = judge(played).compare(MEETINGS)
    assert found[1] == ("invalid", "invalid")
    assert [contests.result(v) for v in found] == ["win", "tie", *["win"] * 4]


def test_a_judge_that_is_stopped_asks_no_more(played: Scripted) -> None:
    """Whoever stops the stage does not wait for what was not asked yet."""
    with pytest.raises(StoppedError):
        judge(played).compare(MEETINGS * 50, stopping=lambda: len(played.asked) > 2)
    assert len(played.asked) < 500


def test_a_silent_judge_does_not_hold_a_stage_that_is_asked_to_stop(played: Scripted) -> None:
    """What was asked of it is left to itself, and not asked again."""
    silence = threading.Event()

    def silent(_: dict[str, Any]) -> Answer:
        silence.wait(60)
        return 503, b""

    played.reply = silent
    try:
        with pytest.raises(StoppedError):
            judge(played).compare(MEETINGS, stopping=lambda: bool(played.asked))
        askers = [one for one in threading.enumerate() if one.name == "ask"]
        assert all(one.daemon for one in askers)
    finally:
        silence.set()
    for asker in askers:
        asker.join(10)
    assert 1 <= len(played.asked) <= chat.CONCURRENCY < 2 * len(MEETINGS)


def test_completions_of_a_server_keep_their_order(played: Scripted) -> None:
    """Several samples of several prompts, whoever is answered first; what was cut is said."""
    played.reply = lambda body: said(f"{body['messages'][0]['content']}!", "length")
    requests = [Request(id=f"{i}", prompt=f"p{i}", n=2, seed_key=f"{i}") for i in range(9)]
    found = chat.ChatGenerator(named(played)).generate(requests, SAMPLING)
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
    from support.tiny import write_llama  # noqa: PLC0415 - torch takes seconds

    short = dataclasses.replace(
        rubrics.get("additive-v1"), name="short-v1", pairwise="{prompt}|{a}|{b}?"
    )
    monkeypatch.setitem(rubrics.MAKERS, "short-v1", lambda _: short)
    path = write_llama(tmp_path, positions=40)
    model = contests.open_judge(contest(rubric="short-v1"), seed=0, referee=path)
    long = Meeting(prompt="say", ours="a" * 40, theirs="b")
    found = model.compare([long, MEETINGS[0]])
    assert found[0] == ("invalid", "invalid")
    assert len(found[1]) == 2


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("win", "win"), "win"),
        (("loss", "loss"), "loss"),
        (("win", "loss"), "tie"),
        (("win", "tie"), "tie"),
        (("win", "invalid"), "tie"),
        (("tie",), "tie"),
        (("win",), "win"),
        ((), "tie"),
    ],
)
def test_a_battle_is_won_only_when_both_orders_agree(verdicts: Any, expected: str) -> None:
    """Disagreement and unreadable verdicts are draws."""
    assert contests.result(verdicts) == expected
