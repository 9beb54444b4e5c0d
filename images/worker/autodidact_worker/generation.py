"""Sampling that does not depend on how the requests were batched or sharded.

Each token is the argmax of log-probability plus Gumbel noise, which is a draw from the softmax.
The noise is a hash of (row key, step, token), where the row key is the sha256 of the seed, stage,
request and sample index: no generator state is shared between rows, so a row's noise is the same
in any batch. Logits themselves differ by about 1e-6 between paddings; batches are therefore formed
from one call's requests in a fixed order, and callers pass the requests of one part file.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from autodidact_contract.stages import Sampling
from autodidact_worker import models
from autodidact_worker.errors import StoppedError, UserError

BATCH_TOKENS = 1 << 16
"""Rows times longest row of a batch: about 20 GB of cache for a 70B model, all of a toy part."""

BATCH_LOGITS = 1 << 25
"""Rows times vocabulary of a batch: the noise is computed in int64, 256 MiB at this size."""

_MASK = 0xFFFFFFFF


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
        ids: Its tokens, with the end token if it ended by itself.
    """

    text: str
    tokens: int
    finish: Literal["stop", "length"]
    ids: tuple[int, ...] = ()


Tick = Callable[[int], None]
"""Called after each batch with the number of completions it made."""


class Generator(Protocol):
    """Whatever turns prompts into completions."""

    def fits(self, prompt: str, sampling: Sampling) -> bool:
        """Returns whether prompt and new tokens together fit the model's context."""

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        tick: Tick = ...,
        stopping: Callable[[], bool] = ...,
    ) -> list[list[Completion]]:
        """Returns the completions of each request, in order."""


def seed_key(seed: int, stage: str, name: str) -> str:
    """Returns the seed key of a request: the run's seed, the stage kind and what it is about."""
    return f"{seed}/{stage}/{name}"


def by_length(lengths: Sequence[int], tokens: int | None = None) -> Iterator[list[int]]:
    """Yields batches of rows for one forward pass: similar lengths together, the longest first.

    Args:
        lengths: Tokens of each row.
        tokens: Rows times longest row of a batch at most, but always one row; None: BATCH_TOKENS.
    """
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(ordered):
        size = max(1, (tokens or BATCH_TOKENS) // lengths[ordered[start]])
        yield ordered[start : start + size]
        start += size


@dataclass(frozen=True, kw_only=True)
class _Row:
    request: int
    sample: int
    ids: list[int]
    key: tuple[int, int]
    room: int


class TransformersGenerator:
    """``generate`` of transformers in left-padded, length-sorted batches."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Samples from a model as it is whenever ``generate`` is called.

        Args:
            model: In evaluation mode while it generates.
            tokenizer: Its tokenizer.
        """
        self.model, self.tokenizer = model, tokenizer
        self._context = models.context_tokens(model)
        self._ends = models.stop_ids(model, tokenizer)
        self._settings = GenerationConfig(
            eos_token_id=self._ends, pad_token_id=tokenizer.pad_token_id, do_sample=False
        )

    @classmethod
    def load(cls, path: Path) -> "TransformersGenerator":
        """Returns a generator on the model at ``path``, or on the one kept from an earlier stage."""
        return cls(*models.load(path))

    def fits(self, prompt: str, sampling: Sampling) -> bool:
        """Returns whether prompt and new tokens together fit the model's context."""
        length = len(models.prompt_ids(self.tokenizer, prompt))
        return self._room(length, sampling.max_new_tokens)

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
            StoppedError: ``stopping`` said so between two batches.
        """
        found: list[dict[int, Completion]] = [{} for _ in requests]
        for batch in self._batches(self._rows(requests, sampling), sampling):
            if stopping():
                raise StoppedError
            for row, completion in zip(batch, self._sample(batch, sampling), strict=True):
                found[row.request][row.sample] = completion
            tick(len(batch))
        return [[found[i][j] for j in range(r.n)] for i, r in enumerate(requests)]

    def _room(self, length: int, new: int) -> bool:
        return self._context is None or length + new <= self._context

    def _rows(self, requests: Sequence[Request], sampling: Sampling) -> list[_Row]:
        rows = []
        for number, request in enumerate(requests):
            ids = list(request.ids or models.prompt_ids(self.tokenizer, request.prompt))
            if not self._room(len(ids), request.max_new_tokens or sampling.max_new_tokens):
                raise UserError(
                    "PromptTooLong",
                    f"prompt {request.id} has {len(ids)} tokens, which with maxNewTokens "
                    f"{sampling.max_new_tokens} exceeds the model's context of {self._context}; "
                    "shorten it or lower maxNewTokens",
                )
            room = min(request.max_new_tokens or sampling.max_new_tokens, sampling.max_new_tokens)
            for sample in range(request.n):
                key = _row_key(request.seed_key, sample)
                rows.append(_Row(request=number, sample=sample, ids=ids, key=key, room=room))
        # Longest first, so that memory runs out at the start or never; ties keep their order.
        return sorted(rows, key=lambda row: -len(row.ids))

    def _batches(self, rows: list[_Row], sampling: Sampling) -> Iterator[list[_Row]]:
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        start = 0
        while start < len(rows):
            longest = len(rows[start].ids) + sampling.max_new_tokens
            size = max(1, min(BATCH_TOKENS // longest, BATCH_LOGITS // vocabulary))
            yield rows[start : start + size]
            start += size

    @torch.inference_mode()
    def _sample(self, batch: list[_Row], sampling: Sampling) -> list[Completion]:
        width = max(len(row.ids) for row in batch)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(r.ids)) + r.ids for r in batch])  # (B, T)
        mask = torch.tensor([[0] * (width - len(r.ids)) + [1] * len(r.ids) for r in batch])
        device = self.model.device
        noise = [GumbelNoise([row.key for row in batch], width, sampling)]
        # generate() derives position ids from the mask, so padding moves no position.
        with self._own_settings():
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max(row.room for row in batch),
                logits_processor=LogitsProcessorList(noise if sampling.temperature else []),
            )
        found = output[:, width:].tolist()
        return self._completions([new[: row.room] for new, row in zip(found, batch, strict=True)])

    @contextmanager
    def _own_settings(self) -> Iterator[None]:
        """Keeps a model's own sampling defaults (repetition penalty, top-k) out of generate().

        What is passed to generate() is filled up with them, so they must be gone from the model.
        """
        kept = self.model.generation_config
        self.model.generation_config = self._settings
        try:
            yield
        finally:
            self.model.generation_config = kept

    def _completions(self, rows: list[list[int]]) -> list[Completion]:
        kept, ends = [], []
        for row in rows:
            end = next((i for i, token in enumerate(row) if token in self._ends), None)
            kept.append(row[:end])
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


class GumbelNoise(LogitsProcessor):
    """Turns greedy decoding into sampling: temperature, top-p, then noise of each row's own."""

    def __init__(self, keys: Sequence[tuple[int, int]], width: int, sampling: Sampling) -> None:
        """Remembers the rows.

        Args:
            keys: Two 32-bit words a row.
            width: Length of the padded prompts; where step 0 is.
            sampling: Temperature and top-p.
        """
        self._keys = torch.tensor(keys)  # (B, 2) int64
        self._width = width
        self._sampling = sampling

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns perturbed scores.

        Args:
            input_ids: ``(B, T)`` int64, prompts and what was sampled so far.
            scores: ``(B, V)`` logits.
        """
        kept = nucleus(scores.float() / self._sampling.temperature, self._sampling.top_p)
        keys = self._keys.to(scores.device)
        return kept + gumbel(keys, input_ids.shape[1] - self._width, scores.shape[1])


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Returns the logits with everything outside the nucleus at minus infinity.

    The nucleus is the smallest set of most likely tokens whose probability reaches ``top_p``.

    Args:
        logits: ``(B, V)`` float32, already divided by the temperature.
        top_p: In (0, 1]; 1 keeps every token.
    """
    if top_p >= 1:
        return logits
    ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    before = torch.cumsum(torch.softmax(ordered, dim=-1), dim=-1).roll(1, dims=-1)
    before[:, 0] = 0
    ordered = ordered.masked_fill(before >= top_p, -torch.inf)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


def gumbel(keys: torch.Tensor, step: int, vocabulary: int) -> torch.Tensor:
    """Returns standard Gumbel noise ``(B, V)`` float32, a pure function of (key, step, token).

    Args:
        keys: ``(B, 2)`` int64, two 32-bit words a row.
        step: Tokens sampled before this one.
        vocabulary: V.
    """
    tokens = _mix(torch.arange(1, vocabulary + 1, device=keys.device) * 0x9E3779B9)  # (V,)
    first = _mix(keys[:, :1] + step * 0x85EBCA6B)  # (B, 1)
    second = _mix(keys[:, 1:] + step * 0xC2B2AE35)  # (B, 1)
    bits = _mix(_mix(first ^ tokens) + second)  # (B, V), 32 bits in int64
    uniform = ((bits.float() + 0.5) * 2.0**-32).clamp_(max=1 - 2.0**-24)
    # -log1p(-u) is exponential; small u, which decide the argmax, keep all their bits.
    return -torch.log(-torch.log1p(-uniform))


def _mix(value: torch.Tensor) -> torch.Tensor:
    """Murmur3's 32-bit finaliser on the low words of int64; overflow wraps above what is kept."""
    value = value & _MASK
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & _MASK
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def _row_key(seed: str, sample: int) -> tuple[int, int]:
    raw = hashlib.sha256(f"{seed}/{sample}".encode()).digest()
    return int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
