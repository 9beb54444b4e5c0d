"""A judge behind a server that speaks OpenAI's chat completions.

So there is no tokenizer to ask and no length to check. A prompt that the server does not take, and
an answer without a text, become an empty completion, which whoever reads it counts; only what would
hold for every prompt is an error.
"""

import logging
import os
import threading
from collections.abc import Generator as Stream
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from autodidact_contract.environment import SOURCE_CREDENTIALS
from autodidact_contract.stages.base import Sampling, Server
from autodidact_worker.generation import Completion, Generator, Row
from autodidact_worker.generation.server import (
    KEY_FILE,
    Connection,
    RefusedError,
    UnreadableError,
    at_once,
    mounted_key,
)
from autodidact_worker.runtime.errors import UserError

log = logging.getLogger(__name__)

CONCURRENCY = 8
"""Requests at the same time: services that are paid for limit them."""

ANSWER_S = 180.0
"""Longest time for one answer."""

_KEPT_IN = "the Secret that secretName of the run's endpoint names"
_ADVICE = {
    401: f"put the right key into {KEY_FILE} of {_KEPT_IN}",
    403: f"put a key that may use the model into {KEY_FILE} of {_KEPT_IN}",
    404: "correct the endpoint's url, which ends in the version, or the model's name",
    405: "correct the endpoint's url, which ends in the version",
    **dict.fromkeys(range(300, 400), "give the address that it leads to as the endpoint's url"),
}
"""What to do about a status that all prompts would be answered with."""


class _Message(BaseModel):
    content: str = Field(pattern=r"\S")


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Reply(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class ChatGenerator(Generator):
    """One completion a request, several requests at once; a sample's noise is the server's.

    Attributes:
        trouble: What was wrong with the last answer that had no text; empty: nothing yet.
    """

    def __init__(self, server: Server, key: str = "") -> None:
        """Asks nothing yet.

        Args:
            server: Where.
            key: What the server wants to be shown, if anything.
        """
        # Whatever needs a tokenizer is overridden.
        super().__init__(tokenizer=None, context=None, ends=())  # type: ignore[arg-type]
        self.trouble = ""
        self._server = Connection(server.url, key, kind="Server", answer_s=ANSWER_S)
        self._model = server.model
        self.engine = f"openai {self._server.url} {self._model}"

    @classmethod
    def open(cls, server: Server, environ: Mapping[str, str] = os.environ) -> "ChatGenerator":
        """Returns a generator with the key of the mounted Secret, if there is one.

        Raises:
            UserError: ``InvalidSecret``.
        """
        return cls(server, mounted_key(environ.get(SOURCE_CREDENTIALS), _KEPT_IN))

    def _tokens(self, prompt: str) -> list[int]:  # noqa: ARG002 - the server alone knows
        return []

    def _run(
        self, rows: list[Row], sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        """Yields completions, see ``Generator``.

        Raises:
            UserError: ``ServerRefused``: key, address or model are wrong.
            StageError: ``ServerUnavailable``: it did not answer while patience lasted.
        """

        def ask(row: Row, over: threading.Event) -> Completion:
            return self._complete(row, sampling, over)

        for found in at_once(ask, rows, CONCURRENCY):
            yield [] if found is None else [(rows[found[0]], found[1])]

    def _complete(self, row: Row, sampling: Sampling, over: threading.Event) -> Completion:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": row.prompt}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": row.room,
            "seed": row.seed,
        }
        try:
            reply = self._server.ask(_Reply, "POST", "/chat/completions", body, over)
        except RefusedError as error:
            if error.status in _ADVICE:
                raise self._refused(error) from error
            return self._nothing(str(error))
        except UnreadableError as error:
            return self._nothing(f"no chat completion: {error.told}")
        choice = reply.choices[0]
        cut = choice.finish_reason == "length"
        return Completion(text=choice.message.content, tokens=0, finish="length" if cut else "stop")

    def _nothing(self, trouble: str) -> Completion:
        if not self.trouble:
            log.warning("%s: %s", self._server.url, trouble)
        self.trouble = trouble
        return Completion(text="", tokens=0, finish="stop")

    def _refused(self, error: RefusedError) -> UserError:
        return UserError(
            "ServerRefused",
            f"{self._server.url}, model {self._model}: {error}; {_ADVICE[error.status]}",
        )
