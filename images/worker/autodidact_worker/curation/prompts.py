"""Few-shot prompts that ask for new prompts, and filters of what comes back. Pure.

Source: arXiv 2401.10020, section 3.1.3 (six seed and two generated demonstrations) and
Self-Instruct, arXiv 2212.10560 (filters and ROUGE-L novelty). As there, the first letter is taken
as a capital when the filters look; unlike there the text itself is kept as it was written.
"""

import random
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Prompt
from autodidact_contract.stages.data import GeneratePrompts
from autodidact_worker.judging.rubrics import Rubric, fill
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.rows import text_id

_FIRST_CODE = 0x10000  # above the surrogates, with room for a million words
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Words of any script; one character a word where the script has no spaces.
_ANY_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W_\u0e00-\u0eff\u3040-\u9fff]+"
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One few-shot prompt and the texts it shows."""

    prompt: str
    demonstrations: tuple[str, ...]


def call(
    rubric: Rubric,
    config: GeneratePrompts,
    seeds: Sequence[str],
    generated: Sequence[str],
    number: int,
) -> Call:
    """Returns a few-shot prompt; which texts it shows depends on the seed and its number.

    Until enough prompts have been generated, seed prompts take their places.

    Args:
        rubric: How demonstrations are written.
        config: Seed and numbers of demonstrations.
        seeds: Seed prompts that may be shown.
        generated: Prompts accepted so far, earlier iterations first.
        number: Number of the call in its stage.

    Raises:
        UserError: ``TooFewSeeds``.
    """
    rng = random.Random(f"{config.seed}/generate-prompts/{number}")
    machine = rng.sample(generated, min(config.generated_demonstrations, len(generated)))
    human = config.seed_demonstrations + config.generated_demonstrations - len(machine)
    if len(seeds) < human:
        raise UserError(
            "TooFewSeeds",
            f"{len(seeds)} seed prompts pass the filters of prompts, but {human} are shown at "
            "once; add instructions, relax minWords, maxWords or excludedWords, or show fewer",
        )
    shown = [*rng.sample(seeds, human), *machine]
    rng.shuffle(shown)
    text = fill(rubric.prompts, {"demonstrations": rubric.join(shown)})
    return Call(prompt=text, demonstrations=tuple(shown))


def rejection(text: str, config: GeneratePrompts) -> str | None:
    """Returns why a prompt is not wanted, None if the filters pass it. Novelty comes after."""
    length = len(text.split())
    if not length:
        return "empty"
    capital = text[0].upper() + text[1:]
    checks = {
        "too-short": length < config.min_words,
        "too-long": length > config.max_words,
        "excluded-word": any(_contains(text, word) for word in config.excluded_words),
        "program": capital.startswith("Write a program"),
        "punctuation": capital[0] in string.punctuation,
        "non-ascii": not capital[0].isascii(),
    }
    return next((reason for reason, found in checks.items() if found), None)


def _contains(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def words(text: str) -> list[str]:
    """Returns the words ROUGE compares: lower case, alphanumeric ASCII, no stemming.

    A text mostly in another script would have few words or none and is split by Unicode's idea of
    a word instead.
    """
    lower = text.lower()
    foreign = sum(c.isalnum() for c in lower if not c.isascii())
    if foreign > sum(c.isalnum() for c in lower if c.isascii()):
        return _ANY_WORD.findall(lower)
    return _ASCII_WORD.findall(lower)


class Novelty:
    """Largest ROUGE-L F1 of a text against all texts seen: 2 LCS / (length + length), in words."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._codes: dict[str, str] = {}
        self._seen: set[str] = set()
        self._texts: list[str] = []
        self._lengths: list[int] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Adds a text to those seen."""
        coded = self._coded(text)
        self._seen.add(text)
        self._texts.append(coded)
        self._lengths.append(len(coded))

    def __contains__(self, text: object) -> bool:
        """Returns whether this very text was seen; a text without any word has no ROUGE."""
        return text in self._seen

    def rouge_max(self, text: str) -> float:
        """Returns the largest F1, 0 when nothing was seen."""
        coded = self._coded(text)
        if not self._texts or not coded:
            return 0.0
        # int32: the length of a common subsequence.
        common = cdist([coded], self._texts, scorer=LCSseq.similarity, dtype=np.int32)[0]
        return float((2 * common / (len(coded) + np.array(self._lengths))).max())

    def _coded(self, text: str) -> str:
        """One character a word: comparing strings is several times faster than lists."""
        codes = self._codes
        return "".join(
            codes.setdefault(word, chr(_FIRST_CODE + len(codes))) for word in words(text)
        )


def accepted(text: str, shown: Sequence[str], rouge: float) -> Prompt:
    """Returns the row of a prompt that passed."""
    return Prompt(
        id=text_id(text),
        prompt=text,
        demonstrations=tuple(text_id(demonstration) for demonstration in shown),
        rouge_max=round(rouge, 6),
    )


def diversity(prompts: Sequence[Prompt]) -> tuple[dict[str, int], dict[str, Mean]]:
    """Returns how different accepted prompts are: first words, n-grams, novelty, lengths.

    ``distinct1`` and ``distinct2`` are the shares of different words and of different pairs of
    neighbours among all of them (Li et al., arXiv 1510.03055); ``rougeMax`` is the mean of each
    prompt's largest ROUGE-L to seeds and prompts before it, ``rougeHighest`` the largest of all.
    """
    weight = float(len(prompts))
    first = {prompt.prompt.split()[0].lower() for prompt in prompts}
    found = [words(prompt.prompt) for prompt in prompts]
    pairs = [pair for one in found for pair in pairwise(one)]
    single = [word for one in found for word in one]
    return {"first-words": len(first)}, {
        "distinct1": Mean(total=float(len(set(single))), weight=float(len(single))),
        "distinct2": Mean(total=float(len(set(pairs))), weight=float(len(pairs))),
        "rougeMax": Mean(total=sum(p.rouge_max for p in prompts), weight=weight),
        "rougeHighest": Mean(total=max((p.rouge_max for p in prompts), default=0.0)),
        "words": Mean(total=float(sum(len(p.prompt.split()) for p in prompts)), weight=weight),
    }
