"""A built-in task on which ReFT works within minutes on one CPU core: sums with mixed annotations.

A question is a chain such as ``7+3*2+9*4``, worked from left to right with the last digit kept;
factors are 3, 7 and 9, so that no step loses what came before. The annotator wrote the running
values down in 40 % of the rows and put dots for them in the others. Both are right, but only the
first is easy to learn: SFT goes on imitating the mixture, while reinforcement finds out which way of
answering is right more often. That is the premise of arXiv 2401.08967 in miniature.

With ``steps`` in every row there is nothing to find out, and SFT, told every token, is the better
teacher: ``toy://reft-uniform/...`` is this control.

It proves the mechanics and the direction of the effect, nothing about large models. All of it is a
function of the seed.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from autodidact_contract.base import Schema
from autodidact_contract.records import Question
from autodidact_worker.answers import reading
from autodidact_worker.toys import copying

OPERATIONS = 4
_OPERATIONS = (*(f"+{digit}" for digit in range(1, 10)), *(f"*{digit}" for digit in (3, 7, 9) * 3))
"""Of equal weight, so that half of them are products."""

SKIPPED = "." * OPERATIONS
"""Reasoning of the other rows. As long as running values, or batches of rows of one length would be
of one style each, and training would swing between the two."""

STEPS_SHARE = 0.4
"""Share of the training rows with running values."""

SIZES = {"train": 3000, "validation": 300, "test": 500}
"""Questions of each split; no question is in two."""

CHARACTERS = (*"0123456789", *"+*.")
POSITIONS = 64


def answer(question: str) -> str:
    """Returns the last digit of a chain of operations, worked from left to right."""
    return running(question)[-1]


def running(question: str) -> str:
    """Returns the last digit after each operation of a chain, one character each."""
    value, digits = int(question[0]), ""
    for operator, operand in zip(question[1::2], question[2::2], strict=True):
        value = (value + int(operand) if operator == "+" else value * int(operand)) % 10
        digits += str(value)
    return digits


def questions(seed: int, split: str, steps: float = STEPS_SHARE) -> list[Question]:
    """Returns the rows of a split.

    Args:
        seed: Decides questions and annotations.
        split: ``train``, ``validation`` or ``test``.
        steps: Share of the rows whose reasoning is the running values, not dots.
    """
    rng = random.Random(f"{seed}/{split}/annotations")
    rows = []
    for number, text in enumerate(_split(seed, split)):
        shown = running(text) if rng.random() < steps else SKIPPED
        rows.append(
            Question(
                id=f"{split}-{number:04d}", question=text, reasoning=shown, answer=answer(text)
            )
        )
    return rows


DATA: Mapping[str, Callable[[int], Iterable[Schema]]] = {
    split: partial(questions, split=split) for split in SIZES
}
"""Rows by the last part of the URI."""

UNIFORM: Mapping[str, Callable[[int], Iterable[Schema]]] = {
    split: partial(questions, split=split, steps=1.0) for split in SIZES
}
"""The same with running values in every row."""


def write_model(folder: Path, seed: int) -> None:
    """Writes an untrained model with its tokenizer as Hugging Face does.

    A Llama of 0.11 million parameters. A token is a character, or one of the fixed phrases around
    question and answer, so that a row has at most 18 tokens.
    """
    before, behind = reading.prompt("?", "language").split("?")
    write_llama(folder, seed, (before, behind, reading.TRIGGER), CHARACTERS, POSITIONS)


def write_llama(
    folder: Path, seed: int, phrases: Sequence[str], characters: Sequence[str], positions: int
) -> None:
    """Writes an untrained Llama of two layers and its tokenizer as Hugging Face does.

    The weights are drawn here, one parameter after the other: what a library does when it builds a
    model changes nothing.

    Args:
        folder: Where to.
        seed: Of the weights.
        phrases: Texts that are one token.
        characters: The other tokens.
        positions: Tokens of a row at most.
    """
    import torch  # noqa: PLC0415 - seconds to import, and rows need none of it
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    tokenizer = copying.tokenizer(phrases, characters, positions)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(copying.SPECIAL) + len(phrases) + len(characters),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        dtype="float32",
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weights in sorted(model.named_parameters()):
            if weights.dim() > 1:  # the norms stay 1
                weights.normal_(std=config.initializer_range, generator=generator)
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _split(seed: int, split: str) -> tuple[str, ...]:
    names = list(SIZES)
    begin = sum(SIZES[name] for name in names[: names.index(split)])
    return _all(seed)[begin : begin + SIZES[split]]


@cache
def _all(seed: int) -> tuple[str, ...]:
    """Returns the questions of all splits, no two alike."""
    rng = random.Random(f"{seed}/questions")
    found: dict[str, None] = {}
    while len(found) < sum(SIZES.values()):
        found[_chain(rng)] = None
    return tuple(found)


def _chain(rng: random.Random) -> str:
    start = rng.choice("0123456789")
    return start + "".join(rng.choice(_OPERATIONS) for _ in range(OPERATIONS))
