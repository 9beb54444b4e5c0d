"""Sampling by a server with OpenAI's completions API: vLLM's, ``transformers serve``, and others.

Somebody else runs the server and loads models into it. A stage samples from the model that it was
given and from no other: the server must list it under its artifact's name, ``<kind>-<key>``, whose
key stands for the weights, and each reply must name it too. Where the server counts the tokens of a
prompt, it must find as many as we do, since another template or tokenizer asks something else.

A server tells neither what it takes nor what it ignores, so each request says all it can in the
first dialect that is not refused (HTTP 400 or 422):

- ``vllm``: tokens in, tokens out, a seed a request, no sampling defaults of the model's own.
- ``transformers``: text in and text out, and all settings as one generation config. Its seed is
  that of the whole process, so requests at the same time disturb each other's noise: samples are
  draws from the model, but another run gives others. A reply that ends by itself with its last
  token counts as cut, and an end token that is not called special stays in the text. It lists the
  models that its cache held when it was first asked.
- ``openai``: text, temperature, top-p and a seed. Whatever else the server does by default it does.

Every sample is a request of its own; ``n`` is ignored by some servers.

What has been run: ``transformers serve`` of the locked version on the CPU, and servers that
misbehave. What has not: vLLM's server on a GPU, and services that are paid for.
"""

import json
import logging
import threading
from collections.abc import Generator as Stream
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from autodidact_contract import environment
from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Completion, Generator, Row
from autodidact_worker.generation.server import (
    KEY_FILE,
    Connection,
    RefusedError,
    at_once,
    mounted_key,
)
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import StageError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

CONCURRENCY = 64
"""Requests at the same time: a batch for the server."""

ANSWER_S = 600.0
"""Longest time for one completion."""

_KEPT_IN = "the Secret that engineSecretName of the ComputeProfile names"


class _Model(BaseModel):
    id: str
    max_model_len: int | None = Field(None, ge=1)


class _Models(BaseModel):
    data: list[_Model]


class _Choice(BaseModel):
    text: str
    finish_reason: Literal["stop", "length"]
    token_ids: list[int] | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Reply(BaseModel):
    model: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()
    system_fingerprint: str | None = None


_Body = Mapping[str, Any]
_Dialect = Literal["vllm", "transformers", "openai"]
_DIALECTS: tuple[_Dialect, ...] = ("vllm", "transformers", "openai")
_NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What a model's own settings would otherwise say."""


class OpenAIGenerator(Generator):
    """Requests to a server, many at the same time."""

    def __init__(
        self,
        server: Connection,
        model: str,
        tokenizer: "PreTrainedTokenizerBase",
        context: int | None,
        ends: Sequence[int],
    ) -> None:
        """Samples from a model that a server has; the rest as in ``Generator``.

        Args:
            server: Has the model.
            model: The name it has there.
            tokenizer: As above.
            context: As above.
            ends: As above.
        """
        super().__init__(tokenizer, context, ends)
        self._server, self._model = server, model
        self._dialect: _Dialect | None = None
        self.engine = f"openai {server.url}"

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str]) -> "OpenAIGenerator":
        """Returns a generator on the model in a folder, which a server has as well.

        Args:
            path: Folder of tokenizer and config, called like the artifact.
            environ: ``AUTODIDACT_ENGINE_URL``, and ``AUTODIDACT_ENGINE_CREDENTIALS``, a folder
                with the file ``apiKey``, where the server wants one.

        Raises:
            UserError: ``InvalidEngine``, ``InvalidSecret``, ``EngineDenied``, ``InvalidModel``.
            StageError: ``EngineUnavailable``, ``ModelNotServed``.
        """
        url = environ.get(environment.ENGINE_URL, "")
        if not url.startswith(("http://", "https://")):
            raise UserError(
                "InvalidEngine",
                f"{environment.ENGINE_URL} is {url!r}; engine openai needs engineUrl in the "
                "ComputeProfile, for example http://vllm.models:8000/v1",
            )
        description = loading.describe(path)
        tokenizer = loading.load_tokenizer(path)
        key = mounted_key(environ.get(environment.ENGINE_CREDENTIALS), _KEPT_IN)
        server = Connection(url, key, kind="Engine", answer_s=ANSWER_S)
        limits = (_served(server, path.name), loading.context_tokens(description))
        context = min((limit for limit in limits if limit is not None), default=None)
        return cls(server, path.name, tokenizer, context, loading.stop_ids(description, tokenizer))

    def _run(
        self, rows: list[Row], sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        dialect, reply = yield from self._settled(rows[0], sampling)
        yield [(rows[0], self._completion(rows[0], reply))]
        bodies = [self._body(dialect, row, sampling) for row in rows[1:]]
        try:
            for found in self._ask(bodies):
                if found is None:
                    yield []
                else:
                    row = rows[1 + found[0]]
                    yield [(row, self._completion(row, found[1]))]
        except RefusedError as error:
            raise self._refused(error) from error

    def _settled(
        self, row: Row, sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, tuple[_Dialect, _Reply]]:
        """Returns the dialect that the server understands, and its reply to a row in it."""
        for dialect in (self._dialect,) if self._dialect else _DIALECTS:
            try:
                for found in self._ask([self._body(dialect, row, sampling)]):
                    if found is None:
                        yield []
                    else:
                        self._note(dialect, found[1])
                        return dialect, found[1]
            except RefusedError as error:
                refusal = error
                if error.status not in {400, 422}:
                    break
        raise self._refused(refusal) from refusal

    def _ask(self, bodies: Sequence[_Body]) -> Iterator[tuple[int, _Reply] | None]:
        def ask(body: _Body, over: threading.Event) -> _Reply:
            return self._server.ask(_Reply, "POST", "/completions", body, over)

        return at_once(ask, bodies, CONCURRENCY)

    def _note(self, dialect: _Dialect, reply: _Reply) -> None:
        if self._dialect is None:
            log.info("server=%s model=%s dialect=%s", self._server.url, self._model, dialect)
        self._dialect = dialect
        if reply.system_fingerprint:
            self.engine = f"openai {self._server.url} {reply.system_fingerprint}"

    def _body(self, dialect: _Dialect, row: Row, sampling: Sampling) -> _Body:
        common = {"model": self._model, "max_tokens": row.room, "seed": row.seed}
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if dialect == "vllm":
            return {
                **common,
                **drawn,
                **_NEUTRAL,
                "prompt": row.ids,
                "stop_token_ids": self._ends,
                "return_token_ids": True,
            }
        text = loading.prompt_text(self.tokenizer, row.prompt)
        if dialect == "openai":
            return {**common, **drawn, "prompt": text}
        settings = {
            **({"do_sample": True, **drawn} if sampling.temperature else {"do_sample": False}),
            **_NEUTRAL,
            "eos_token_id": self._ends,
            "pad_token_id": self.tokenizer.pad_token_id,
        }
        return {**common, "prompt": text, "generation_config": json.dumps(settings)}

    def _completion(self, row: Row, reply: _Reply) -> Completion:
        """Returns the completion in a reply, if it is one to what was asked.

        Raises:
            StageError: ``ModelNotServed``: another model replied; ``InvalidReply``: too long.
            UserError: ``PromptMisread``: the server counts other tokens in the prompt than we do.
        """
        # transformers serve appends the revision.
        if reply.model.partition("@")[0] != self._model:
            raise StageError(
                "ModelNotServed",
                f"{self._server.url} was asked for {self._model} and sampled from {reply.model}; "
                "give each model a server or a name of its own",
            )
        usage = reply.usage
        if usage.prompt_tokens not in {None, len(row.ids)}:
            raise UserError(
                "PromptMisread",
                f"{self._server.url} reads {usage.prompt_tokens} tokens in a prompt of "
                f"{len(row.ids)}; serve the tokenizer that lies beside the model",
            )
        choice = reply.choices[0]
        if choice.token_ids is not None:
            [found] = self._completions([choice.token_ids])
        else:
            found = self._untokenized(choice, usage)
        if found.tokens > row.room:
            raise StageError(
                "InvalidReply",
                f"{self._server.url} sampled {found.tokens} tokens where at most {row.room} were "
                "asked for",
            )
        return found

    def _untokenized(self, choice: _Choice, usage: _Usage) -> Completion:
        """Returns a completion of which the server told the text alone."""
        if usage.completion_tokens is None:
            tokens = len(self.tokenizer(choice.text, add_special_tokens=False).input_ids)
        else:
            tokens = max(0, usage.completion_tokens - (choice.finish_reason == "stop"))
        return Completion(text=choice.text, tokens=tokens, finish=choice.finish_reason)

    def _refused(self, error: RefusedError) -> StageError:
        if error.status in {401, 403}:
            return _denied(self._server, error)
        if error.status == 404:
            return StageError(
                "ModelNotServed",
                f"{self._server.url} serves {self._model} no more, or has no completions: {error}; "
                "serve it again, or choose another engine in the ComputeProfile",
            )
        return UserError(
            "EngineRefused",
            f"{self._server.url} refuses to sample from {self._model}: {error}; correct the "
            "server's settings, or choose another engine in the ComputeProfile",
        )


def _served(server: Connection, name: str) -> int | None:
    """Returns the context of a model that a server has, None if it does not tell.

    Raises:
        StageError: ``ModelNotServed``: it has others; perhaps somebody is about to load it.
        UserError: ``EngineDenied``; ``InvalidEngine``: this is no such API.
    """
    try:
        listed = server.ask(_Models, "GET", "/models")
    except RefusedError as error:
        if error.status in {401, 403}:
            raise _denied(server, error) from error
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


def _denied(server: Connection, error: RefusedError) -> UserError:
    return UserError(
        "EngineDenied",
        f"{server.url} refuses the key: {error}; put a valid one into {KEY_FILE} of {_KEPT_IN}",
    )


def load(path: Path, environ: Mapping[str, str]) -> OpenAIGenerator:
    """Returns a generator of this engine, see ``generation.load``."""
    return OpenAIGenerator.load(path, environ)
