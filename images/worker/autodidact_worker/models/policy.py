"""The networks of online training: a policy, and the value head on its backbone.

Both run in evaluation mode always, in rollouts and in gradient passes, so that the policy that
samples is the policy that learns (arXiv 2401.08967, published code). transformers checkpoints
activations in training mode only; memory is bounded by ``microBatchSize`` instead.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from autodidact_worker.models import lora

CHUNK = 1 << 22
"""Logits that are turned into log-probabilities at a time: one answer's of a large model."""


def token_log_probs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns the log-probability of each token, without a second tensor as large as the logits.

    Args:
        logits: ``(B, T, V)`` of any float type; row ``t`` predicts token ``t``.
        tokens: ``(B, T)`` int64.
        temperature: What the logits are divided by, as when the tokens were sampled.

    Returns:
        ``(B, T)`` float32.
    """
    rows = max(1, CHUNK // logits[0].numel())
    found = []
    for part, wanted in zip(logits.split(rows), tokens.split(rows), strict=True):
        scores = part.float() if temperature == 1 else part.float() / temperature  # (b, T, V)
        chosen = scores.gather(-1, wanted[..., None])[..., 0]
        found.append(chosen - scores.logsumexp(-1))
    return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Answers with their prompts, as one forward pass reads them.

    Prompts end, and answers begin, in the same column. Padding on either side has no attention and
    moves no position.

    Attributes:
        ids: ``(B, P + T)`` int64.
        attention: ``(B, P + T)`` int64.
        positions: ``(B, P + T)`` int64, counted from each row's first real token.
        mask: ``(B, T)`` bool, true on the actions.
    """

    ids: Tensor
    attention: Tensor
    positions: Tensor
    mask: Tensor

    @property
    def actions(self) -> Tensor:
        """The tokens of the answers, ``(B, T)`` int64; padding where the mask is false."""
        return self.ids[:, -self.mask.shape[1] :]


def collate(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, device: torch.device
) -> Batch:
    """Returns prompts and answers as a batch.

    Args:
        pairs: Tokens of each prompt and of its answer; neither is empty.
        pad: Any token of the vocabulary.
        device: Where the batch is wanted.
    """
    before = max(len(prompt) for prompt, _ in pairs)
    after = max(len(answer) for _, answer in pairs)
    ids = [
        [pad] * (before - len(p)) + list(p) + list(a) + [pad] * (after - len(a)) for p, a in pairs
    ]
    seen = [
        [0] * (before - len(p)) + [1] * (len(p) + len(a)) + [0] * (after - len(a)) for p, a in pairs
    ]
    attention = torch.tensor(seen, device=device)
    lengths = torch.tensor([len(a) for _, a in pairs], device=device)
    return Batch(
        ids=torch.tensor(ids, device=device),
        attention=attention,
        positions=(attention.cumsum(1) - 1).clamp(min=0),
        mask=torch.arange(after, device=device) < lengths[:, None],
    )


class Policy(nn.Module):
    """A causal language model that says how likely answers are."""

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        """Takes a model of transformers.

        Args:
            model: Used as it is, with or without adapters; evaluation mode is set here, once and
                for all.
            temperature: Of sampling. Log-probabilities are those of the softmax at this
                temperature; a nucleus smaller than everything is not renormalised.
        """
        super().__init__()
        self.model = model
        self.temperature = temperature
        forward = lora.plain(model).forward
        self._takes_positions = "position_ids" in inspect.signature(forward).parameters
        self.eval()

    @property
    def plain(self) -> Any:
        """The model as transformers has it, adapters in force; what samples."""
        return lora.plain(self.model)

    def forward(self, batch: Batch) -> Tensor:
        """Returns the log-probability of each action, ``(B, T)`` float32."""
        # Of the answer's columns and the one before them; the last one predicts nothing we need.
        keep = batch.mask.shape[1] + 1
        logits = self.plain(**self._inputs(batch), logits_to_keep=keep).logits[:, :-1]
        return token_log_probs(logits, batch.actions, self.temperature)

    def without_adapters(self, batch: Batch) -> Tensor:
        """Returns what ``forward`` of the model that was given says: the frozen reference."""
        with self.model.disable_adapter():
            return Policy.forward(self, batch)

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        inputs = {"input_ids": batch.ids, "attention_mask": batch.attention, "use_cache": False}
        return inputs | ({"position_ids": batch.positions} if self._takes_positions else {})


class ActorCritic(Policy):
    """A policy and a linear value head, on the policy's backbone or on a copy of it.

    Source: arXiv 2401.08967 section 4.4 and the published code (hidden size to 1, with bias).
    """

    def __init__(
        self,
        model: Any,
        temperature: float = 1.0,
        *,
        head: Literal["random", "zero"] = "random",
        network: Literal["shared", "separate"] = "shared",
        seed: int = 0,
    ) -> None:
        """Takes a model and makes the head.

        Args:
            model: As for ``Policy``.
            temperature: As for ``Policy``.
            head: ``random``: torch's default for a linear layer; ``zero``: all zeros.
            network: Whether the value head has a backbone of its own.
            seed: Of the random head.
        """
        super().__init__(model, temperature)
        output = self.plain.get_output_embeddings()
        self.head = _linear(output.weight.shape[1], seed, zero=head == "zero")
        self.head.to(output.weight.device, output.weight.dtype)
        # Without an output layer, which would learn nothing.
        self.critic = copy.deepcopy(self.plain.get_decoder()) if network == "separate" else None
        self.head_only = False  # while it is true, no gradient of the values leaves the head
        self.eval()

    def forward(  # type: ignore[override]  # whoever made it knows what it says
        self, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Returns log-probability and value of each action, two of ``(B, T)`` float32."""
        with _Hidden(self.plain) as seen:
            log_probs = super().forward(batch)
        states = seen.states
        if self.critic is not None:
            states = self.critic(**self._inputs(batch)).last_hidden_state
        states = states[:, -batch.mask.shape[1] - 1 : -1]  # (B, T, hidden)
        if self.head_only:
            # Times 0, not cut off: DDP and DeepSpeed want a gradient of every parameter.
            states = states.detach() + 0.0 * states
        return log_probs, self.head(states)[..., 0].float()


def _linear(width: int, seed: int, *, zero: bool) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(width, 1)
    if zero:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return head


class _Hidden:
    """Catches what a model's output layer is given: the last hidden states, ``(B, T + 1, H)``.

    All layers' states, which transformers would return as well, need not be kept for it.
    """

    states: Tensor

    def __init__(self, model: Any) -> None:
        self._layer = model.get_output_embeddings()

    def __enter__(self) -> Self:
        self._hook = self._layer.register_forward_pre_hook(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _take(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.states = given[0]
