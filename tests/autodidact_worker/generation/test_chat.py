"""A judge behind a chat server, as a generator."""

import pytest

from autodidact_contract.stages.base import Sampling, Server
from autodidact_worker.generation import Request
from autodidact_worker.generation.chat import ChatGenerator
from autodidact_worker.runtime.errors import UserError
from support.completion_servers import said, scripted

SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7)


def requests(*prompts: str) -> list[Request]:
    """One completion of each prompt."""
    return [Request(id=text, prompt=text, n=1, seed_key=text) for text in prompts]


def test_completions_come_in_the_order_of_their_requests() -> None:
    """Each prompt is one message of the user, and the finish is told as the server says it."""
    with scripted("judge") as server:
        server.reply = lambda body: said(body["messages"][0]["content"] * 2, "length")
        asked = Server(url=server.url, model="judge")
        found = ChatGenerator(asked).generate(requests("a", "b", "c"), SAMPLING)
    assert [(one.text, one.finish) for (one,) in found] == [
        ("aa", "length"),
        ("bb", "length"),
        ("cc", "length"),
    ]
    bodies = sorted(server.asked, key=lambda body: str(body["messages"]))
    assert [body["messages"] for body in bodies] == [
        [{"role": "user", "content": text}] for text in "abc"
    ]
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in bodies} == {
        ("judge", 0.5, 7)
    }


def test_an_answer_without_text_is_empty_and_remembered() -> None:
    """A server that says nothing readable costs its answer, not the stage."""
    with scripted("judge") as server:
        server.reply = lambda _: (200, {"choices": []})
        generator = ChatGenerator(Server(url=server.url, model="judge"))
        ((one,),) = generator.generate(requests("a"), SAMPLING)
    assert one.text == ""
    assert generator.trouble != ""


def test_a_wrong_key_is_the_users_to_fix() -> None:
    """What would hold for every prompt ends the stage with the address and the advice."""
    with scripted("judge") as server:
        server.reply = lambda _: (401, {"error": "who are you"})
        generator = ChatGenerator(Server(url=server.url, model="judge"), "wrong")
        with pytest.raises(UserError, match=server.url) as caught:
            generator.generate(requests("a"), SAMPLING)
    assert caught.value.reason == "ServerRefused"
