"""A server with OpenAI's API: questions that outlast a short outage, and errors that name a remedy."""

import json
import queue
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import urllib3
from pydantic import BaseModel, Field, ValidationError
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from autodidact_store.pool import CONNECT_S, RETRIED, Patience
from autodidact_worker.errors import StageError, UserError

KEY_FILE = "apiKey"
"""Of the Secret with the key, and so of the folder it is mounted at."""

CONCURRENCY = 64
"""Requests at the same time: a batch for the server."""

PATIENCE_S = 120.0
"""How long a server may be away or overloaded before the attempt ends."""

READ_S = 600.0
"""Longest silence of a server that is connected, and so the longest time for one completion."""

MAX_REPLY_BYTES = 1 << 24
_TOLD_CHARACTERS = 300
_POLL_S = 0.5
_Answer = TypeVar("_Answer", bound=BaseModel)


class _Model(BaseModel):
    id: str
    max_model_len: int | None = Field(None, ge=1)


class _Models(BaseModel):
    data: list[_Model]


class RefusedError(Exception):
    """The server does not do what it was asked for; asking again would not help.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status} {message}".strip())
        self.status = status


class Server:
    """An OpenAI-compatible server. Safe to use from several threads.

    Attributes:
        url: Its base, which ends in /v1 as a rule.
    """

    def __init__(self, url: str, key: str = "") -> None:
        """Connects when it is first asked.

        Args:
            url: Its base, http or https.
            key: Sent as bearer token; appears in no message.
        """
        self.url = url.rstrip("/")
        self._key = key
        self._pool = urllib3.PoolManager(
            maxsize=CONCURRENCY,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            cert_reqs="CERT_REQUIRED",
        )

    def ask(
        self, schema: type[_Answer], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> _Answer:
        """Returns the first answer that is one.

        Args:
            schema: What it must be; more is fine.
            method: Of HTTP.
            path: Below the base.
            body: Sent as JSON.

        Raises:
            RefusedError: HTTP 3xx, 400, 404, 422 and the like.
            UserError: ``EngineDenied``: the key is missing or wrong; ``EngineUntrusted``: its
                certificate; ``InvalidEngine``: its URL.
            StageError: ``EngineUnavailable``: no answer, or only that it cannot, until patience
                ended; ``InvalidReply``.
        """
        answer = self._patiently(method, path, body)
        try:
            return schema.model_validate_json(answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StageError(
                "InvalidReply",
                f"{self.url}{path} answered {self._told(answer)!r}, which is not the API's: "
                f"{where} {first['msg']}",
            ) from error

    def ask_all(
        self, schema: type[_Answer], path: str, bodies: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[int, _Answer] | None]:
        """Yields place and answer of each body as they come; None now and then while none does.

        Who wants no more closes the iterator; requests under way are left to themselves.

        Raises:
            RefusedError: As ``ask``, of the first that fails; likewise the others.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        answered: queue.SimpleQueue[tuple[int, _Answer | Exception]] = queue.SimpleQueue()
        for place in range(len(bodies)):
            waiting.put(place)
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                try:
                    place = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    answered.put((place, self.ask(schema, "POST", path, bodies[place])))
                except Exception as error:  # noqa: BLE001 - raised where answers are taken
                    answered.put((place, error))

        # Daemons: a process that is asked to end does not wait for a slow server.
        for _ in range(min(CONCURRENCY, len(bodies))):
            threading.Thread(target=work, name="ask", daemon=True).start()
        missing = len(bodies)
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

    def _patiently(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        patience = Patience(PATIENCE_S)
        while True:
            try:
                status, answer = self._once(method, path, body)
            except HTTPError as error:
                self._check_url(error)
                trouble = str(error)
            else:
                if status < 300:
                    return answer
                told = self._told(answer)
                if status in {401, 403}:
                    raise UserError(
                        "EngineDenied",
                        f"{self.url} refuses the key: HTTP {status} {told}; put a valid one into "
                        f"{KEY_FILE} of the Secret that engineSecretName of the ComputeProfile "
                        "names",
                    )
                if status not in RETRIED:
                    raise RefusedError(status, told)
                trouble = f"HTTP {status} {told}".strip()
            if not patience.wait():
                raise StageError(
                    "EngineUnavailable",
                    f"{self.url} did not serve {path}: {trouble}; check that the server runs, has "
                    "room for more requests, and can be reached from the pods of stages",
                )

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        answer = self._pool.request(
            method,
            self.url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
        )
        found = answer.read(MAX_REPLY_BYTES)
        if len(found) < MAX_REPLY_BYTES:
            answer.release_conn()
        else:  # The rest is not wanted.
            answer.close()
        return answer.status, found

    def _check_url(self, error: HTTPError) -> None:
        """Raises what no second try can help."""
        if isinstance(error, LocationValueError):
            raise UserError(
                "InvalidEngine", f"{self.url} is not the URL of a server: {error}"
            ) from error
        causes = (*error.args, error.__cause__)
        if isinstance(error, SSLError) and any(
            isinstance(cause, ssl.SSLCertVerificationError) for cause in causes
        ):
            raise UserError(
                "EngineUntrusted",
                f"{self.url}: {error}; name the authority's certificate file in SSL_CERT_FILE",
            ) from error

    def _told(self, answer: bytes) -> str:
        """Returns the beginning of what a server said, without the key should it repeat it."""
        text = answer[: 4 * _TOLD_CHARACTERS].decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:_TOLD_CHARACTERS]


def served(server: Server, name: str) -> int | None:
    """Returns the context of a model that a server has, None if it does not tell.

    Raises:
        StageError: ``ModelNotServed``: it has others; perhaps somebody is about to load it.
        UserError: ``InvalidEngine``: this is no such API.
    """
    try:
        listed = server.ask(_Models, "GET", "/models")
    except RefusedError as error:
        raise UserError(
            "InvalidEngine",
            f"{server.url}/models: {error}; engineUrl of the ComputeProfile must be the base of an "
            "OpenAI-compatible API, for example http://vllm.models:8000/v1",
        ) from error
    there = {model.id: model for model in listed.data}
    if name not in there:
        some = ", ".join(sorted(there)[:5]) or "no model"
        raise StageError(
            "ModelNotServed",
            f"{server.url} serves {some}, not {name}, which is this stage's; serve that artifact "
            f"under this name (vllm serve FOLDER --served-model-name {name}), or choose another "
            "engine in the ComputeProfile",
        )
    return there[name].max_model_len
