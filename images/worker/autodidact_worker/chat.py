"""A server that speaks OpenAI's chat completions and judges: it is asked as a generator is.

Unlike the engines of ``generation`` it has a model that is not ours, and no tokenizer to ask.
It is not trusted: redirects are not followed, for the key would go along; an answer has a size and
a time. A prompt that the server does not take, and an answer without a text, become an empty
completion, which whoever reads it counts; only what would hold for every prompt is an error.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

import urllib3
from urllib3.exceptions import HTTPError

from autodidact_contract.stages import Sampling, Server
from autodidact_worker.errors import StageError, StoppedError, UserError
from autodidact_worker.generation import Completion, Request, Tick
from autodidact_worker.sources import CREDENTIALS

log = logging.getLogger(__name__)

KEY = "apiKey"
"""File of the mounted Secret."""

AT_ONCE = 8
"""Requests under way."""

ATTEMPTS = 5
"""Of one request, after which the server is not there."""

PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Before the second attempt, doubled each time; a server may ask for more (Retry-After)."""

CONNECT_S, READ_S, ANSWER_S = 10.0, 60.0, 180.0
"""Longest wait for a connection, longest silence, and longest answer."""

MAX_ANSWER_BYTES = 1 << 20
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_POLL_S = 0.5


class ChatGenerator:
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
        self.trouble = ""
        self._server = server
        self._url = f"{server.url.rstrip('/')}/chat/completions"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._pool = urllib3.PoolManager(maxsize=AT_ONCE, timeout=timeout)

    @classmethod
    def open(cls, server: Server, environ: Mapping[str, str] = os.environ) -> "ChatGenerator":
        """Returns a generator with the key of the mounted Secret, if there is one.

        Raises:
            UserError: ``InvalidSecret``.
        """
        folder = environ.get(CREDENTIALS)
        if not folder:
            return cls(server)
        path = Path(folder) / KEY
        key = path.read_text().strip() if path.is_file() else ""
        if not key or not key.isascii() or not key.isprintable():
            raise UserError(
                "InvalidSecret",
                f"the Secret for {server.url} has no usable {KEY}; put the server's key into it",
            )
        return cls(server, key)

    def fits(self, prompt: str, sampling: Sampling) -> bool:  # noqa: ARG002 - it alone knows
        """Returns True; the server refuses what is too long."""
        return True

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        tick: Tick = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[list[Completion]]:
        """Returns the completions of each request, in order.

        Raises:
            UserError: ``ServerRefused``: key, address or model are wrong.
            StageError: ``ServerUnavailable``: it did not answer, several times.
            StoppedError: ``stopping`` said so.
        """
        wanted = [(request, sample) for request in requests for sample in range(request.n)]
        over = threading.Event()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [pool.submit(self._complete, *one, sampling, over) for one in wanted]
            pending = set(asked)
            try:
                while pending:
                    if stopping():
                        raise StoppedError
                    done, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
                    for future in done:
                        future.result()
                        tick(1)
            finally:
                over.set()  # whoever is waiting for another attempt gives up
                pool.shutdown(wait=False, cancel_futures=True)
        found = iter(future.result() for future in asked)
        return [[next(found) for _ in range(request.n)] for request in requests]

    def _complete(
        self, request: Request, sample: int, sampling: Sampling, over: threading.Event
    ) -> Completion:
        room = min(request.max_new_tokens or sampling.max_new_tokens, sampling.max_new_tokens)
        noise = hashlib.sha256(f"{request.seed_key}/{sample}".encode()).digest()
        body = {
            "model": self._server.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": room,
            "seed": int.from_bytes(noise[:4], "big") >> 1,
        }
        status, answer = self._ask(json.dumps(body).encode(), over)
        if status != 200:
            return self._nothing(f"{request.id}: HTTP {status} {_line(answer)}")
        return _read(answer) or self._nothing(f"{request.id}: no chat completion: {_line(answer)}")

    def _nothing(self, trouble: str) -> Completion:
        if not self.trouble:
            log.warning("%s: %s", self._url, trouble)
        self.trouble = trouble
        return Completion(text="", tokens=0, finish="stop")

    def _ask(self, body: bytes, over: threading.Event) -> tuple[int, bytes]:
        """Returns status and body of the first answer that is one, refusals of a prompt too."""
        pause, why = PAUSE_S, ""
        for attempt in range(ATTEMPTS):
            if attempt and over.wait(pause):
                raise StoppedError
            try:
                status, headers, answer = self._once(body)
            except HTTPError as error:
                pause, why = min(2 * pause, LONGEST_PAUSE_S), _line(str(error).encode())
                continue
            if status not in _AGAIN:
                return self._checked(status, answer), answer
            why = f"HTTP {status} {_line(answer)}".strip()
            asked = headers.get("Retry-After", "")
            pause = min(max(2 * pause, float(asked) if asked.isdecimal() else 0), LONGEST_PAUSE_S)
        raise StageError(
            "ServerUnavailable",
            f"{self._url} did not answer in {ATTEMPTS} attempts, at last: {why}; check that the "
            "server runs, is not overloaded and can be reached from the cluster",
        )

    def _once(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        answer = self._pool.request(
            *("POST", self._url),
            body=body,
            headers=self._headers,
            redirect=False,
            retries=False,
            preload_content=False,
        )
        end, found = time.monotonic() + ANSWER_S, b""
        try:
            while chunk := answer.read1(1 << 16):
                found += chunk
                if len(found) > MAX_ANSWER_BYTES or time.monotonic() > end:
                    raise HTTPError("the answer takes too long or is too large")
        finally:
            answer.close()
        return answer.status, answer.headers, found

    def _checked(self, status: int, answer: bytes) -> int:
        """Returns a status that says nothing of other prompts.

        Raises:
            UserError: All prompts would be answered so.
        """
        advice = {
            401: f"put the right key into the Secret's {KEY}, and name it in secretName",
            403: f"put a key that may use the model into the Secret's {KEY}",
            404: "correct url, which ends in the version, or the model's name",
            405: "correct url, which ends in the version",
        }.get(status, "give the address that it leads to" if 300 <= status < 400 else "")
        if advice:
            raise UserError(
                "ServerRefused",
                f"{self._url}, model {self._server.model}: HTTP {status} {_line(answer)}; {advice}",
            )
        return status


def _read(answer: bytes) -> Completion | None:
    """Returns the text of an answer, None if there is none."""
    try:
        choice: Any = json.loads(answer)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(text, str) or not text.strip():
        return None
    finish: Literal["stop", "length"] = (
        "length" if choice.get("finish_reason") == "length" else "stop"
    )
    return Completion(text=text, tokens=0, finish=finish)


def _line(said: bytes) -> str:
    return " ".join(said[:800].decode(errors="replace").split())[:200]
