"""The model that a training starts from, its rows as tokens, and the model that it writes.

Dropout as the config asks for it is set where the architecture has it, counted, or refused. What
happens in between is in ``schedule``, ``trainers`` and ``online``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)

from autodidact_contract.stages.training import Training
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.training.distributed import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_dropout",
    "attn_pdrop",
    "dropout",
    "embd_dropout",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
)
"""Names under which architectures of transformers keep a dropout probability."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as tokens: its prompt, and each completion to learn from.

    Attributes:
        prompt: What is masked.
        targets: The completion (SFT), or the chosen and the rejected one (DPO).
        cut: Whether a target was cut.
    """

    prompt: list[int]
    targets: tuple[list[int], ...]
    cut: bool

    @property
    def length(self) -> int:
        """Tokens of the longest sequence it makes."""
        return len(self.prompt) + max(map(len, self.targets))

    @property
    def tokens(self) -> int:
        """Tokens of all the sequences it makes."""
        return sum(len(self.prompt) + len(target) for target in self.targets)


def tokenize(
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    prompt: str,
    completions: Sequence[str],
    limit: int,
) -> Row:
    """Returns a row as tokens.

    The prompt's tokens are those that sampling will give the model; completions are encoded by
    themselves and end in the end token. A sequence over the limit loses its end.

    Args:
        tokenizer: Of the model.
        name: What the row is called in an error.
        prompt: The user's text, before any chat template.
        completions: Texts to learn from.
        limit: Tokens that a sequence may have.

    Raises:
        UserError: ``PromptTooLong``: the prompt alone leaves no room.
    """
    start = loading.prompt_ids(tokenizer, prompt)
    room = limit - len(start)
    if room < 1:
        raise UserError(
            "PromptTooLong",
            f"{name}: its prompt alone has {len(start)} tokens and maxLength is {limit}; shorten "
            "the prompt, or raise maxLength as far as the model's context goes",
        )
    whole = [
        tokenizer(loading.completion_text(tokenizer, text), add_special_tokens=False).input_ids
        for text in completions
    ]
    cut = any(len(ids) > room for ids in whole)
    return Row(prompt=start, targets=tuple(ids[:room] for ids in whole), cut=cut)


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model a training starts from.

    Attributes:
        model: With the dropout that was asked for.
        tokenizer: Its tokenizer.
        limit: Longest sequence in tokens: the config's, or the model's own if that is shorter.
        dropouts: Number of modules whose dropout is in force.
        kept: Dropout settings as they were, to be written with the result.
        dtype: Number format of the weights on disk.
    """

    model: PreTrainedModel
    tokenizer: "PreTrainedTokenizerBase"
    limit: int
    dropouts: int
    kept: dict[str, float]
    dtype: torch.dtype


def start(
    path: Path, config: Training, layout: Layout, *, labels: Mapping[int, str] | None = None
) -> Start:
    """Returns the model at a path, made ready to be trained.

    Args:
        path: A language model.
        config: Dropout and length of sequences.
        layout: On what it will run.
        labels: Names of the classes that it is to tell apart by the last token of a sequence,
            instead of continuing it; the head for that starts at random, from the seed.

    Raises:
        UserError: ``DropoutNotApplicable``, ``InvalidModel`` or ``UnsafeModel``.
    """
    loading.forget()
    model_files.check(path)
    tokenizer = loading.load_tokenizer(path)
    settings = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    stored = settings.dtype or torch.float32
    kept = set_dropout(settings, config.dropout)
    if labels is not None:
        settings.id2label = dict(labels)
        settings.label2id = {name: number for number, name in labels.items()}
        settings.pad_token_id = tokenizer.pad_token_id  # how it tells which token is the last
    half = layout.gpu and layout.deepspeed != "none"  # DeepSpeed keeps float32 masters itself
    set_seed(config.seed)
    model = loading.with_weights(
        AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification,
        path,
        new_head=labels is not None,
        config=settings,
        dtype=torch.bfloat16 if half else torch.float32,
    )
    dropouts = count_dropouts(model)
    if config.dropout and not dropouts:
        raise UserError(
            "DropoutNotApplicable",
            f"dropout is {config.dropout} but {settings.model_type} has no dropout that can be "
            "set; set dropout to 0 or choose another model",
        )
    limit = min(config.max_length, loading.context_tokens(model) or config.max_length)
    return Start(
        model=model, tokenizer=tokenizer, limit=limit, dropouts=dropouts, kept=kept, dtype=stored
    )


def write(
    folder: Path,
    model: PreTrainedModel,
    begin: Start,
    curve: Iterable[Mapping[str, float]],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Writes a model as Hugging Face does, and its curve; refuses to write anything else.

    Args:
        folder: Where to; empty.
        model: As transformers has it, without adapters; it is changed.
        begin: What it was made of. What came in 16 bits goes out in 16 bits.
        curve: Lines of ``training_log.jsonl``.
        weights: All of them, as they are to be written, where those of the model are in pieces.
    """
    for name, value in begin.kept.items():
        setattr(model.config, name, value)
    if weights is None:
        model.to(begin.dtype)  # type: ignore[arg-type]  # transformers' wrapper hides ``self``
        model.config.dtype = begin.dtype
    model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
    begin.tokenizer.save_pretrained(folder)
    (folder / model_files.CURVE).write_text("".join(f"{json.dumps(line)}\n" for line in curve))
    model_files.check(folder)


def set_dropout(settings: PreTrainedConfig, value: float) -> dict[str, float]:
    """Sets every dropout probability a model config has.

    Returns:
        The values as they were.
    """
    kept = {name: getattr(settings, name) for name in DROPOUTS if hasattr(settings, name)}
    kept = {name: old for name, old in kept.items() if isinstance(old, int | float)}
    for name in kept:
        setattr(settings, name, value)
    return kept


def count_dropouts(model: torch.nn.Module) -> int:
    """Returns how many modules drop something in training.

    Attention often keeps its probability as a number and passes it to the kernel.
    """
    kinds = (torch.nn.Dropout, torch.nn.Dropout1d, torch.nn.Dropout2d)
    count = 0
    for module in model.modules():
        values = (
            [module.p]
            if isinstance(module, kinds)
            else [vars(module).get(name) for name in ("attention_dropout", "dropout_p")]
        )
        count += any(isinstance(value, float) and value > 0 for value in values)
    return count
