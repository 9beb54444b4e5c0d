"""Models small enough for a test: random weights, one token a character."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;|=?!'\"<>/\n-_()*#+"
)


def character_tokenizer(template: str | None = None, *, adds_bos: bool = False) -> Any:
    """Returns a tokenizer with one token a character.

    Args:
        template: Its chat template.
        adds_bos: Whether it begins every text with the BOS token.
    """
    words = {c: i for i, c in enumerate(["<pad>", "<eos>", "<unk>", "<bos>", *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106 - a token
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if adds_bos:
        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 3)]
        )
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "unk", "bos")}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.chat_template = template
    return made


def write_llama(folder: Path, seed: int = 0, positions: int = 2048, width: int = 32) -> Path:
    """Writes a random Llama of two small layers and returns its folder."""
    config = LlamaConfig(
        vocab_size=4 + len(CHARACTERS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        bos_token_id=3,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


def write_gpt2(folder: Path) -> Path:
    """Writes a random model with learned absolute positions that matter."""
    shared = {"eos_token_id": 1, "bos_token_id": 3, "pad_token_id": 0}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=100, n_positions=64, n_embd=32, n_layer=2, n_head=2, **shared)
    )
    model.transformer.wpe.weight.data.normal_()
    model.save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder
