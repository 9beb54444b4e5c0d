"""Requests to a server with OpenAI's API. They are repeated during a short outage.

It is not trusted: redirects are not followed, for the key would go along; an answer has a size and
a time.
"""

import json
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from autodidact_store.pool import CONNECT_S, RETRIED, Patience
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError

KEY_FILE = "apiKey"
"""Of the Secret with the key, and so of the folder it is mounted at."""

CONCURRENCY = 64
"""Connections that are kept."""

PATIENCE_S = 120.0
"""How long a server may be away or overloaded, since it first was, before the attempt ends."""

LONGEST_PAUSE_S = 30.0
"""How much time a server may ask for before it is asked again (Retry-After)."""

MAX_REPLY_BYTES = 1 << 24
_AGAIN = RETRIED | {408, 425}
_TOLD_CHARACTERS = 300
_POLL_S = 0.5
_Answer = TypeVar("_Answer", bound=BaseModel)
_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


class RefusedError(Exception):
    """The server does not do what it was asked for; asking again would not help.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status} {message}".strip())
        self.status = status


class UnreadableError(StageError):
    """The server answered something else than what its API says.

    Attributes:
        told: How the answer begins.
    """

    def __init__(self, message: str, told: str) -> None:
        super().__init__("InvalidReply", message)
        self.told = told


class Connection:
    """An OpenAI-compatible server. Safe to use from several threads.

    Attributes:
        url: Its base, which ends in /v1 as a rule.
    """

    def __init__(self, url: str, key: str = "", *, kind: str, answer_s: float) -> None:
        """Connects when it is first asked.

        Args:
            url: Its base, http or https.
            key: Sent as bearer token; appears in no message.
            kind: What it is here, CamelCase: part of the reasons of errors.
            answer_s: Longest time for one answer.
        """
        self.url = url.rstrip("/")
        self._key, self._kind, self._answer_s = key, kind, answer_s
        self._pool = urllib3.PoolManager(
            maxsize=CONCURRENCY,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=answer_s),
            cert_reqs="CERT_REQUIRED",
        )

    def ask(
        self,
        schema: type[_Answer],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        over: threading.Event | None = None,
    ) -> _Answer:
        """Returns the first answer that is one.

        Args:
            schema: What it must be; more is fine.
            method: Of HTTP.
            path: Below the base.
            body: Sent as JSON.
            over: Set when nobody wants the answer any more.

        Raises:
            RefusedError: HTTP 3xx, 400, 401, 404, 422 and the like.
            UserError: With the kind in place of X: ``XUntrusted``: its certificate; ``InvalidX``:
                its URL.
            UnreadableError: It is none.
            StageError: ``XUnavailable``: no answer, or only that it cannot, until patience ended;
                ``InvalidReply``: one that is too large.
            StoppedError: It was over before there was one.
        """
        answer = self._patiently(method, path, body, over or threading.Event())
        try:
            return schema.model_validate_json(answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            told = self._told(answer)
            raise UnreadableError(
                f"{self.url}{path} answered {told!r}, which is not the API's: "
                f"{where} {first['msg']}",
                told,
            ) from error

    def _patiently(
        self, method: str, path: str, body: Mapping[str, Any] | None, over: threading.Event
    ) -> bytes:
        patience: Patience | None = None
        while not over.is_set():
            pause_s = 0.0
            try:
                status, headers, answer = self._once(method, path, body)
            except HTTPError as error:
                self._check_url(error)
                trouble = str(error)
            else:
                if status < 300:
                    return answer
                told = self._told(answer)
                if status not in _AGAIN:
                    raise RefusedError(status, told)
                trouble = f"HTTP {status} {told}".strip()
                wanted = headers.get("Retry-After", "")
                pause_s = min(float(wanted) if wanted.isdecimal() else 0.0, LONGEST_PAUSE_S)
            patience = patience or Patience(PATIENCE_S)
            if not patience.wait(pause_s, over.wait):
                raise StageError(
                    f"{self._kind}Unavailable",
                    f"{self.url} did not serve {path}: {trouble}; check that the server runs, has "
                    "room for more requests, and can be reached from the pods of stages",
                )
        raise StoppedError

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        end = time.monotonic() + self._answer_s
        answer = self._pool.request(
            method,
            self.url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
        )
        found = bytearray()
        try:
            while chunk := answer.read1(1 << 16):
                found += chunk
                if len(found) > MAX_REPLY_BYTES:
                    raise StageError(
                        "InvalidReply",
                        f"{self.url}{path} answered more than {MAX_REPLY_BYTES} bytes, which is "
                        "too large; check that the server's API is OpenAI's",
                    )
                if time.monotonic() > end:
                    raise HTTPError(f"the answer took more than {self._answer_s:g} s")
        finally:
            answer.close()  # One that was read to its end gave its connection back before.
        return answer.status, answer.headers, bytes(found)

    def _check_url(self, error: HTTPError) -> None:
        """Raises what no second try can help."""
        if isinstance(error, LocationValueError):
            raise UserError(
                f"Invalid{self._kind}",
                f"{self.url} is not the URL of a server: {error}; correct it",
            ) from error
        causes = (*error.args, error.__cause__)
        if isinstance(error, SSLError) and any(
            isinstance(cause, ssl.SSLCertVerificationError) for cause in causes
        ):
            raise UserError(
                f"{self._kind}Untrusted",
                f"{self.url}: {error}; name the authority's certificate file in SSL_CERT_FILE",
            ) from error

    def _told(self, answer: bytes) -> str:
        """Returns the beginning of what a server said, without the key should it repeat it."""
        text = answer.decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text[: 4 * _TOLD_CHARACTERS].split())[:_TOLD_CHARACTERS]


def at_once(
    ask: Callable[[_Asked, threading.Event], _Found], asked: Sequence[_Asked], threads: int
) -> Iterator[tuple[int, _Found] | None]:
    """Yields place and answer of each question as they come; None now and then while none does.

    Who wants no more closes the iterator; requests under way are left to themselves.

    Args:
        ask: Answers a question; the event is set when nobody wants the answer any more.
        asked: The questions.
        threads: Questions at the same time.

    Raises:
        Exception: That of the first question that fails.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    answered: queue.SimpleQueue[tuple[int, _Found | Exception]] = queue.SimpleQueue()
    for place in range(len(asked)):
        waiting.put(place)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answered.put((place, ask(asked[place], over)))
            except Exception as error:  # noqa: BLE001 - raised where answers are taken
                answered.put((place, error))

    # Daemons: a process that is asked to end does not wait for a slow server.
    for _ in range(min(threads, len(asked))):
        threading.Thread(target=work, name="ask", daemon=True).start()
    missing = len(asked)
    try:
        while missing:
            try:
                place, answer = answered.get(timeout=_POLL_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(answer, Exception):
                raise answer
            missing -= 1
            yield place, answer
    finally:
        over.set()


def mounted_key(folder: str | None, secret: str) -> str:
    """Returns the key in a mounted Secret, empty if none is mounted.

    Args:
        folder: Where it is mounted.
        secret: What the user calls it, for errors.

    Raises:
        UserError: ``InvalidSecret``: there is no key in it, or nothing that a header can hold.
    """
    if not folder:
        return ""
    path = Path(folder) / KEY_FILE
    key = path.read_text(errors="replace").strip() if path.is_file() else ""
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(
            "InvalidSecret", f"{secret} has no usable {KEY_FILE}; put the server's key into it"
        )
    return key
