"""The interface of all engines: how prompts become completions.

An engine is a module here that is called as in ``environment.ENGINES`` and has a function ``load``;
which one a stage gets is the ComputeProfile's, by ``AUTODIDACT_ENGINE``. A sample depends on the seed key and
the index of its own alone, never on other requests, so that any number of shards makes the same
artifact; how well an engine keeps that is said in its module. The engine is not part of a stage's
key: another one draws other samples of the same distribution, and whoever asks for an artifact that
is there takes it. The manifest says what sampled. ``chat`` is no engine: its server has a model of its
own, which judges and nothing else.
"""

import hashlib
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Stream
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autodidact_contract.environment import DEFAULT_ENGINE, ENGINE, ENGINES
from autodidact_contract.stages.base import Sampling
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import StoppedError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Request:
    """Sample ``n`` completions of a prompt.

    Attributes:
        id: Names the request in errors.
        prompt: The user's text, before any chat template.
        n: Number of samples.
        seed_key: Everything the noise depends on besides the sample index, see ``seed_key``.
        max_new_tokens: Tokens of a completion at most, if that is less than the sampling's.
        ids: The prompt's tokens, from who has them already.
    """

    id: str
    prompt: str
    n: int
    seed_key: str
    max_new_tokens: int | None = None
    ids: Sequence[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sample.

    Attributes:
        text: Without special tokens.
        tokens: Number of its tokens, without the end token.
        finish: Whether it ended by itself.
        ids: Its tokens, with the end token if it ended by itself; empty where an engine tells the
            text alone.
    """

    text: str
    tokens: int
    finish: Literal["stop", "length"]
    ids: tuple[int, ...] = ()


Tick = Callable[[int], None]
"""Called now and then with the number of completions that were made since."""


def seed_key(seed: int, stage: str, name: str) -> str:
    """Returns the seed key of a request: the run's seed, the stage kind and what it is about."""
    return f"{seed}/{stage}/{name}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sample that is wanted.

    Attributes:
        request: Place of its request among those of the call.
        sample: Its index among the request's samples.
        prompt: The user's text.
        ids: Tokens of the prompt.
        key: Two 32-bit words of noise of its own.
        room: Tokens it may have.
    """

    request: int
    sample: int
    prompt: str
    ids: list[int]
    key: tuple[int, int]
    room: int

    @property
    def seed(self) -> int:
        """The key as a seed that every engine takes, 31 bits."""
        return self.key[0] >> 1


class Generator(ABC):
    """Whatever turns prompts into completions.

    Attributes:
        engine: What samples and its version; recorded with what it made.
    """

    engine: str

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", context: int | None, ends: Sequence[int]
    ) -> None:
        """Remembers how prompts and completions read.

        Args:
            tokenizer: Of the model.
            context: Tokens of prompt and completion together at most, None if there is no limit.
            ends: Tokens that end a completion.
        """
        self.tokenizer, self._context, self._ends = tokenizer, context, list(ends)

    def fits(self, prompt: str, sampling: Sampling) -> bool:
        """Returns whether prompt and new tokens together fit the model's context."""
        return self._leaves_room(len(self._tokens(prompt)), sampling.max_new_tokens)

    def room(self, prompt: str, new: int) -> int:
        """Returns how many of ``new`` tokens the model's context leaves for a completion.

        At least one, so that ``generate`` refuses a prompt that leaves none, and names it.
        """
        if self._context is None:
            return new
        return max(1, min(new, self._context - len(self._tokens(prompt))))

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        tick: Tick = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[list[Completion]]:
        """Returns the completions of each request, in order.

        Raises:
            UserError: ``PromptTooLong``, naming the request; ask ``fits`` first to skip it.
            StoppedError: ``stopping`` said so before all were made.
        """
        found: list[dict[int, Completion]] = [{} for _ in requests]
        rows = self._rows(requests, sampling)
        missing = len(rows)
        with closing(self._run(rows, sampling)) as groups:
            while missing:
                if stopping():
                    raise StoppedError
                group = next(groups)
                for row, completion in group:
                    found[row.request][row.sample] = completion
                missing -= len(group)
                tick(len(group))
        return [[found[i][j] for j in range(r.n)] for i, r in enumerate(requests)]

    @abstractmethod
    def _run(
        self, rows: list[Row], sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        """Yields completions as they are made, every row once; perhaps nothing for a while.

        Args:
            rows: Longest prompt first; at least one.
            sampling: Temperature and top-p; a row's room is never more than its maximum.
        """

    def _tokens(self, prompt: str) -> list[int]:
        return loading.prompt_ids(self.tokenizer, prompt)

    def _leaves_room(self, length: int, new: int) -> bool:
        return self._context is None or length + new <= self._context

    def _rows(self, requests: Sequence[Request], sampling: Sampling) -> list[Row]:
        rows = []
        for number, request in enumerate(requests):
            ids = list(request.ids or self._tokens(request.prompt))
            if not self._leaves_room(len(ids), request.max_new_tokens or sampling.max_new_tokens):
                raise UserError(
                    "PromptTooLong",
                    f"prompt {request.id} has {len(ids)} tokens, which with maxNewTokens "
                    f"{sampling.max_new_tokens} exceeds the model's context of {self._context}; "
                    "shorten it or lower maxNewTokens",
                )
            room = min(request.max_new_tokens or sampling.max_new_tokens, sampling.max_new_tokens)
            rows += [
                Row(
                    request=number,
                    sample=sample,
                    prompt=request.prompt,
                    ids=ids,
                    key=_row_key(request.seed_key, sample),
                    room=room,
                )
                for sample in range(request.n)
            ]
        # Longest first, so that memory runs out at the start or never; ties keep their order.
        return sorted(rows, key=lambda row: -len(row.ids))

    def _completions(self, rows: Sequence[Sequence[int]]) -> list[Completion]:
        """Returns completions from their tokens; what follows an end token does not count."""
        kept, ends = [], []
        for row in rows:
            end = next((i for i, token in enumerate(row) if token in self._ends), None)
            kept.append(list(row[:end]))
            ends.append([] if end is None else [row[end]])
        texts = self.tokenizer.batch_decode(
            kept, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [
            Completion(
                text=text,
                tokens=len(ids),
                finish="stop" if end else "length",
                ids=(*ids, *end),
            )
            for text, ids, end in zip(texts, kept, ends, strict=True)
        ]


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Generator:
    """Returns a generator on a model, of the engine that ``AUTODIDACT_ENGINE`` names.

    The last one is kept, so stages that run one after the other in a process load a model once.

    Args:
        path: A Hugging Face directory, called like the artifact it holds.
        environ: Also has the address of a server, see ``generation.openai``.

    Raises:
        UserError: ``InvalidEngine``, ``InvalidModel``, or what the engine says of its server.
        StageError: A server is not there now, or does not serve the model.
    """
    name = environ.get(ENGINE) or DEFAULT_ENGINE
    if name not in ENGINES:
        known = f"{', '.join(ENGINES[:-1])} or {ENGINES[-1]}"
        raise UserError("InvalidEngine", f"{ENGINE} is {name!r}, not {known}")
    # Imported late: an image has the libraries of its own engine alone.
    engine = importlib.import_module(f"{__name__}.{name}")
    made: Generator = engine.load(path, environ)
    return made


def _row_key(seed: str, sample: int) -> tuple[int, int]:
    raw = hashlib.sha256(f"{seed}/{sample}".encode()).digest()
    return int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
