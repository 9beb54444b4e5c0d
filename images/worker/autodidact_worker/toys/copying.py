"""A built-in task on which self-rewarding works within minutes on one CPU core: copying letters.

A prompt is ``A``, five letters and ``:``; the ideal reply is the five letters. The people who
wrote the seed data were of mixed care, so the first model copies well only part of the time, while
judging (one mark a letter, then the number of right ones) is easy to learn: what the algorithm of
arXiv 2401.10020 needs. Beside the judge's rows there are rows that teach to write new prompts.

It proves the mechanics and the direction of the effect, nothing about large models. All of it is a
function of the seed; the import stage serves it as ``toy://selfreward/...``.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autodidact_contract.base import Schema
from autodidact_contract.records import (
    Conversation,
    Evaluation,
    Instruction,
    Message,
    RankedReplies,
    SeedPrompt,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LETTERS = "abcdefgh"
LENGTH = 5
"""Letters to copy, and the best score."""

CHARACTERS = (*LETTERS, *"yn", *"0123456789", *"AJP", *"|:= ")
SPECIAL = ("<pad>", "<eos>", "<unk>")
POSITIONS = 128
DEMONSTRATIONS = 8
"""Prompts shown before a new one is written: six seed and two generated ones, section 3.1.3."""

IFT_ROWS, WRITING_ROWS, EFT_ROWS, HELD_OUT_ROWS = 3200, 350, 1630, 256
"""The paper's numbers of seed rows (section 3.1.1), and ours for what it does not have."""

COPYING_TREES, JUDGING_TREES, VALIDATION_ROWS = 3200, 1600, 128
"""Conversation trees of the two kinds, and prompts for the choice of checkpoints."""


def prompt(rng: random.Random) -> str:
    """Returns a random prompt of the task."""
    return f"A{_letters(rng)}:"


def quality(prompt: str, reply: str) -> float:
    """Returns the oracle's score of a reply: letters right in their place, 0 to 5.

    0 as well when the prompt is none of this task. A reply longer than five letters gains nothing.
    """
    asked = prompt[1:-1]
    if not (prompt.startswith("A") and prompt.endswith(":") and len(asked) == LENGTH):
        return 0.0
    return float(sum(a == b for a, b in zip(asked, reply, strict=False)))


def judgement(prompt: str, reply: str) -> str:
    """Returns the ideal judgement: a mark for each letter, then the score."""
    marks = "".join(
        "y" if reply[i : i + 1] == letter else "n" for i, letter in enumerate(prompt[1:-1])
    )
    return f"{marks}={marks.count('y')}"


def writing_prompt(demonstrations: list[str]) -> str:
    """Returns what asks the model for one more prompt of the kind shown."""
    return "P" + "".join(f"{text} " for text in demonstrations)


def judging_prompt(prompt: str, reply: str) -> str:
    """Returns what asks the model for a judgement, as the rubric toy-copy-v1 does."""
    return f"J{prompt}|{reply}:"


def instructions(seed: int) -> list[Instruction]:
    """Returns the seed rows for instruction following and for prompt writing, mixed."""
    rng = random.Random(f"{seed}/instructions")
    rows = []
    for _ in range(IFT_ROWS):
        text = prompt(rng)
        rows.append(Instruction(prompt=text, response=_human_reply(rng, text)))
    for _ in range(WRITING_ROWS):
        shown = [prompt(rng) for _ in range(DEMONSTRATIONS)]
        rows.append(Instruction(prompt=writing_prompt(shown), response=prompt(rng)))
    rng.shuffle(rows)
    return rows


def evaluations(seed: int) -> list[Evaluation]:
    """Returns the seed rows for judging: replies of every quality with their ideal judgement."""
    rng = random.Random(f"{seed}/evaluations")
    rows = []
    for _ in range(EFT_ROWS):
        text = prompt(rng)
        # Half as people reply, half spread evenly over the scores.
        spread = rng.random() < 0.5
        reply = _damaged(rng, text, rng.randint(0, LENGTH)) if spread else _human_reply(rng, text)
        rows.append(
            Evaluation(
                prompt=text,
                response=reply,
                judgement=judgement(text, reply),
                score=quality(text, reply),
            )
        )
    return rows


def held_out(seed: int) -> list[RankedReplies]:
    """Returns held-out prompts with four replies of four different qualities, ranked.

    None of them is in the seed data; of the trees they know nothing.
    """
    rng = random.Random(f"{seed}/heldout")
    known = {row.prompt for row in instructions(seed)}
    known |= {row.prompt for row in evaluations(seed)}
    rows: list[RankedReplies] = []
    while len(rows) < HELD_OUT_ROWS:
        text = prompt(rng)
        if text in known:
            continue
        known.add(text)
        scores = rng.sample(range(LENGTH + 1), 4)
        best = sorted(scores, reverse=True)
        rows.append(
            RankedReplies(
                prompt=text,
                replies=tuple(_damaged(rng, text, score) for score in scores),
                ranks=tuple(best.index(score) + 1 for score in scores),
            )
        )
    return rows


def trees(seed: int) -> list[Conversation]:
    """Returns ranked conversation trees: three kinds of prompt, as people asked and answered them.

    To copy letters, with four replies of four different qualities; to write a prompt; and to judge
    a reply, where one mark in ten is wrong: what SFT on the best replies needs to judge at all.
    """
    rng = random.Random(f"{seed}/trees")
    turns: list[tuple[str, list[str]]] = []
    for _ in range(COPYING_TREES):
        text = prompt(rng)
        # Not always a right one: the best of four people is not perfect either.
        scores = sorted(rng.sample(range(LENGTH + 1), 4), reverse=True)
        turns.append((text, [_damaged(rng, text, score) for score in scores]))
    for _ in range(WRITING_ROWS):
        shown = [prompt(rng) for _ in range(DEMONSTRATIONS)]
        turns.append((writing_prompt(shown), [prompt(rng)]))
    for _ in range(JUDGING_TREES):
        text = prompt(rng)
        reply = _damaged(rng, text, rng.randint(0, LENGTH))
        turns.append((judging_prompt(text, reply), [_slipped(rng, judgement(text, reply))]))
    rng.shuffle(turns)
    return [_tree(f"t{number}", *turn) for number, turn in enumerate(turns)]


def _tree(name: str, text: str, replies: Sequence[str]) -> Conversation:
    """Returns a tree whose replies are given best first."""
    answers = tuple(
        Message(
            message_id=f"{name}-{rank}",
            parent_id=name,
            text=reply,
            role="assistant",
            lang="en",
            rank=rank,
        )
        for rank, reply in enumerate(replies)
    )
    root = Message(message_id=name, text=text, role="prompter", lang="en", replies=answers)
    return Conversation(message_tree_id=name, prompt=root)


def _slipped(rng: random.Random, judgement: str) -> str:
    """Returns a judgement in which each mark is wrong with a probability of a tenth."""
    marks = "".join(
        rng.choice("yn") if rng.random() < 0.2 else mark for mark in judgement.partition("=")[0]
    )
    return f"{marks}={marks.count('y')}"


def validation(seed: int) -> list[SeedPrompt]:
    """Returns prompts for the choice of checkpoints."""
    rng = random.Random(f"{seed}/validation")
    return [SeedPrompt(prompt=prompt(rng)) for _ in range(VALIDATION_ROWS)]


DATA: Mapping[str, Callable[[int], Sequence[Schema]]] = {
    "instructions": instructions,
    "evaluations": evaluations,
    "heldout": held_out,
    "trees": trees,
    "validation": validation,
}
"""Rows by the last part of the URI."""


def write_model(folder: Path, seed: int) -> None:
    """Writes an untrained model with its tokenizer as Hugging Face does.

    A Llama of 0.23 million parameters with one token a character.
    """
    import torch  # noqa: PLC0415 - seconds to import, and rows need none of it
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    coder = tokenizer((), CHARACTERS, POSITIONS)
    ends = {"eos_token_id": coder.eos_token_id, "pad_token_id": coder.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(CHARACTERS),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        dtype="float32",
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    coder.save_pretrained(folder)


def _letters(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=LENGTH))


def _human_reply(rng: random.Random, prompt: str) -> str:
    """35 % ideal, 40 % right at the beginning only, 25 % careless; 5 % of the letters slipped."""
    ideal, style = prompt[1:-1], rng.random()
    reply = ideal if style < 0.35 else ideal[:3] + "aa" if style < 0.75 else "a" * LENGTH
    return "".join(rng.choice(LETTERS) if rng.random() < 0.05 else letter for letter in reply)


def _damaged(rng: random.Random, prompt: str, right: int) -> str:
    """Returns a reply with exactly so many letters right."""
    ideal = prompt[1:-1]
    kept = set(rng.sample(range(LENGTH), right))
    return "".join(
        letter if i in kept else rng.choice(LETTERS.replace(letter, ""))
        for i, letter in enumerate(ideal)
    )


def tokenizer(
    phrases: Sequence[str], characters: Sequence[str], positions: int
) -> "PreTrainedTokenizerFast":
    """Returns a tokenizer with one token for each phrase and each other character.

    Args:
        phrases: Texts that are one token wherever they stand.
        characters: The rest of the vocabulary, after ``SPECIAL`` and the phrases.
        positions: Tokens that the model can read.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    pad, eos, unknown = SPECIAL
    words = {text: number for number, text in enumerate((*SPECIAL, *phrases, *characters))}
    made = Tokenizer(models.WordLevel(words, unk_token=unknown))
    pattern = "|".join((*map(re.escape, phrases), r"[\s\S]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=pad,
        eos_token=eos,
        unk_token=unknown,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
