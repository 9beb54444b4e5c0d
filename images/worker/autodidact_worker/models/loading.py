"""Models from a directory, and the one way a prompt becomes tokens, in training and in sampling.

A prompt is rendered by the model's own chat template where it has one, as one user turn with the
beginning of the assistant's turn after it; otherwise the prompt is the text. A completion ends in
the tokenizer's end-of-sequence token: training appends it, sampling stops at it.
"""

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import (
        GenerationConfig,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A model in evaluation mode and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


class Description(NamedTuple):
    """What the folder of a model says of it, named as in a model."""

    config: "PreTrainedConfig"
    generation_config: "GenerationConfig"


_Opened = TypeVar("_Opened")
_kept: dict[tuple[Path, Callable[[Path], Any]], Any] = {}


def keep(path: Path, opening: Callable[[Path], _Opened]) -> _Opened:
    """Returns what ``opening`` made of a path; the last one is kept, others are dropped.

    So stages that run one after the other in a process load a model once, and no two are in memory.
    """
    wanted = path.resolve(), opening
    if wanted not in _kept:
        forget()
        _kept[wanted] = opening(wanted[0])
    opened: _Opened = _kept[wanted]
    return opened


def load(path: Path) -> Loaded:
    """Returns the model and tokenizer of a Hugging Face directory, ready to sample from.

    float32 on CPU, where results must repeat exactly; bfloat16 on GPUs. It is kept.

    Raises:
        UserError: ``InvalidModel``: the directory is not a model of the kind we accept.
    """
    return keep(path, _load)


def load_classifier(path: Path) -> Loaded:
    """Returns a classifier of sequences and its tokenizer, as ``load`` does a language model.

    Raises:
        UserError: ``InvalidModel``: the directory is not one; a language model would be given a
            head of random numbers.
    """
    return keep(path, _load_classifier)


def forget() -> None:
    """Drops the kept model, for example before training needs the memory."""
    _kept.clear()
    # An engine frees its GPU when it is collected, and holds references to itself.
    gc.collect()


def _load_classifier(path: Path) -> Loaded:
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - as below

    loaded = _load(path, AutoModelForSequenceClassification, new_head=True)
    said = loaded.model.config.architectures or []
    if type(loaded.model).__name__ not in said:
        raise UserError(
            "InvalidModel",
            f"{path.name} is a {', '.join(said) or 'model of unknown kind'}, not a classifier; "
            "give the artifact of train-reranker",
        )
    return loaded


def _load(path: Path, kind: Any = None, *, new_head: bool = False) -> Loaded:
    import torch  # noqa: PLC0415 - seconds to import; --help must not pay them
    from transformers import AutoModelForCausalLM  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    model_files.check(path)
    started = time.monotonic()
    disable_progress_bar()
    gpu = torch.cuda.is_available()
    tokenizer = load_tokenizer(path)
    model = with_weights(
        kind or AutoModelForCausalLM,
        path,
        new_head=new_head,
        dtype=torch.bfloat16 if gpu else torch.float32,
        device_map="auto" if gpu else None,
    )
    model.eval()
    seconds = time.monotonic() - started
    log.info(
        "model loaded path=%s parameters=%d dtype=%s device=%s seconds=%.1f",
        *(path.name, model.num_parameters(), model.dtype, model.device, seconds),
    )
    return Loaded(model, tokenizer)


def with_weights(
    kind: Any, path: Path, *, new_head: bool = False, **settings: Any
) -> "PreTrainedModel":
    """Returns a model all of whose weights are in the folder.

    Args:
        kind: One of transformers' auto classes.
        path: A Hugging Face directory.
        new_head: Whether weights outside of the body may be missing; they are then random.
        **settings: For ``from_pretrained``.

    Raises:
        UserError: ``InvalidModel``: no model, or one whose config and weights do not belong
            together; transformers would go on with random numbers where a weight is missing.
    """
    try:
        model: PreTrainedModel
        model, said = kind.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are looked at below
            output_loading_info=True,
            **settings,
        )
    except (OSError, ValueError) as error:
        raise UserError("InvalidModel", f"cannot load the model {path.name}: {error}") from error
    body = f"{model.base_model_prefix}."
    wrong = sorted(
        {str(found[0]) for found in said["mismatched_keys"]}
        | {name for name in said["missing_keys"] if not new_head or name.startswith(body)}
    )
    if wrong:
        raise UserError(
            "InvalidModel",
            f"the model {path.name} lacks {len(wrong)} of the weights that its config.json asks "
            f"for, or has them in another shape: {', '.join(wrong[:3])}; give the config that "
            "belongs to the weights",
        )
    return model


def describe(path: Path) -> Description:
    """Returns what ``stop_ids`` and ``context_tokens`` need of a model, without its weights.

    Raises:
        UserError: ``InvalidModel``: the directory is not a model of the kind we accept.
    """
    from transformers import AutoConfig, GenerationConfig  # noqa: PLC0415 - as above

    model_files.check(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError("InvalidModel", f"cannot read the model {path.name}: {error}") from error
    try:
        generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    except OSError:  # It may be missing.
        generation_config = GenerationConfig.from_model_config(config)
    return Description(config, generation_config)


def load_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    """Returns the tokenizer of a Hugging Face directory.

    A missing pad token becomes the end-of-sequence token: padding is masked everywhere, and the
    embeddings keep their size.

    Raises:
        UserError: ``InvalidModel``: no tokenizer, or one without an end-of-sequence token.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - as above

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(
            "InvalidModel", f"cannot load the tokenizer {path.name}: {error}"
        ) from error
    if tokenizer.eos_token_id is None:
        raise UserError(
            "InvalidModel", f"the tokenizer of {path.name} has no eos_token; set one in its config"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prompt_text(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """Returns the text whose encoding with default special tokens is the model's input.

    The chat template usually begins with the BOS token and the tokenizer adds one itself; the
    template's is removed then, so there is exactly one.
    """
    if not tokenizer.chat_template:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    bos = tokenizer.bos_token
    if bos and text.startswith(bos) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(bos)
    return text


def completion_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Returns a completion as it is learned: the text and the end-of-sequence token."""
    return text + str(tokenizer.eos_token)


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Returns the token ids of a prompt; an end token that the tokenizer appends is cut off."""
    ids: list[int] = list(tokenizer(prompt_text(tokenizer, prompt)).input_ids)
    if (
        len(ids) > 1
        and ids[-1] == tokenizer.eos_token_id
        and not prompt.endswith(str(tokenizer.eos_token))
    ):
        return ids[:-1]
    return ids


class Written(Protocol):
    """A prompt and what a model wrote to it, such as a ``Response`` or an ``AnswerSample``."""

    @property
    def prompt(self) -> str:
        """The user's text."""

    @property
    def text(self) -> str:
        """What the model wrote."""

    @property
    def finish(self) -> str:
        """``stop``: the model ended by itself; ``length``: it was cut."""


Tokens = tuple[list[int], list[int]]
"""A prompt's and a reply's."""


def encode(tokenizer: "PreTrainedTokenizerBase", written: Written) -> Tokens:
    """Returns a reply behind its prompt as training sees them; one that was cut has no end token.

    Args:
        tokenizer: Of the model.
        written: Its text is encoded again, which need not give the very tokens that were sampled.
    """
    text = written.text
    if written.finish == "stop":
        text = completion_text(tokenizer, text)
    reply: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return prompt_ids(tokenizer, written.prompt), reply


def stop_ids(
    model: "PreTrainedModel | Description", tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """Returns the ids that end a reply: the tokenizer's EOS and those the model declares."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    several = declared if isinstance(declared, list) else [declared]
    return sorted({tokenizer.eos_token_id, *(token for token in several if token is not None)})


def context_tokens(model: "PreTrainedModel | Description") -> int | None:
    """Returns the longest sequence the model was made for, None when its config does not say."""
    length = getattr(model.config, "max_position_embeddings", None)
    return int(length) if length and length > 0 else None
