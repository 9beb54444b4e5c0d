"""What a tokenizer's patterns and a model's template may be: all that is published, nothing else."""

import pytest

from autodidact_worker.intake import model_configs

PUBLISHED = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    "Bloom": r" ?[^(\s|[.,!?\u2026\u3002\uff0c])]+",
    "DeepSeek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?"
    r"[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "Kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+(?i:'s|'t)?",
    "line breaks": r"(?:\r?\n)+",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_patterns_pass(name: str) -> None:
    """Groups that are optional or matched once, and two repeats in a row, are fine."""
    assert not model_configs.is_catastrophic(PUBLISHED[name])


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)+$",
        r"(\p{L}*)*x",
        r"(?:(?:a|b))+",
        r"((a+)b?)*",
        r"([^\]]+)*\]",
        r"(.*a){20}",
        r"(.*a){2,}",
        r"(?:[a-z]+\s?)+$",
        r"\s*\s*\s*x",
        "a" * 20_000,
    ],
    ids=lambda pattern: pattern[:20],
)
def test_patterns_that_take_for_ever_do_not(pattern: str) -> None:
    """Repeats of what repeats or chooses, and three repeats in a row, are refused."""
    assert model_configs.is_catastrophic(pattern)
