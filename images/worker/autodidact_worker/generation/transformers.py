"""Sampling by transformers in this process. Batches and shards do not change what is sampled.

Each token is the argmax of log-probability plus Gumbel noise, which is a draw from the softmax.
The noise is a hash of (row key, step, token), where the row key is the sha256 of the seed, stage,
request and sample index: no generator state is shared between rows, so a row's noise is the same
in any batch. Logits themselves differ by about 1e-6 between paddings; batches are therefore formed
from one call's requests in a fixed order, and callers pass the requests of one part file.
"""

from collections.abc import Generator as Stream
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Completion, Generator, Row
from autodidact_worker.models import batches, loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MASK = 0xFFFFFFFF


class TransformersGenerator(Generator):
    """``generate`` of transformers in left-padded, length-sorted batches."""

    engine = f"transformers {transformers.__version__}"

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """Samples from a model as it is whenever ``generate`` is called.

        Args:
            model: In evaluation mode while it generates.
            tokenizer: Its tokenizer.
        """
        ends = loading.stop_ids(model, tokenizer)
        super().__init__(tokenizer, loading.context_tokens(model), ends)
        self.model = model
        self._settings = GenerationConfig(
            eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=False
        )

    @classmethod
    def load(cls, path: Path) -> "TransformersGenerator":
        """Returns a generator on the model at ``path``, or on the one kept from an earlier stage."""
        return cls(*loading.load(path))

    def _run(
        self, rows: list[Row], sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        for batch in self._batches(rows, sampling):
            yield list(zip(batch, self.sample(batch, sampling), strict=True))

    def _batches(self, rows: list[Row], sampling: Sampling) -> Iterator[list[Row]]:
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        start = 0
        while start < len(rows):
            longest = len(rows[start].ids) + sampling.max_new_tokens
            size = max(1, min(batches.BATCH_TOKENS // longest, batches.BATCH_LOGITS // vocabulary))
            yield rows[start : start + size]
            start += size

    @torch.inference_mode()
    def sample(self, batch: list[Row], sampling: Sampling) -> list[Completion]:
        """Returns a completion of each row of one batch, in order."""
        width = max(len(row.ids) for row in batch)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(r.ids)) + r.ids for r in batch])  # (B, T)
        mask = torch.tensor([[0] * (width - len(r.ids)) + [1] * len(r.ids) for r in batch])
        device = self.model.device
        noise = [GumbelNoise([row.key for row in batch], width, sampling)]
        # generate() derives position ids from the mask, so padding moves no position.
        with self._own_settings():
            output = self.model.generate(  # type: ignore[operator]  # models that sample have it
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max(row.room for row in batch),
                logits_processor=LogitsProcessorList(noise if sampling.temperature else []),
                # Weights are whole here. In step with the other ranks, which transformers takes for
                # needed under ZeRO-3, one that has less to sample would leave the others waiting.
                synced_gpus=False,
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


def load(path: Path, _: Mapping[str, str]) -> TransformersGenerator:
    """Returns a generator of this engine, see ``generation.load``."""
    return TransformersGenerator.load(path)
