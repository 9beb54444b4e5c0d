"""Model-written text and numbers as a page may show them."""

import unicodedata

_PICTURES = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "\u2421"}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
NONE = "\u2013"
"""Shown where nothing was measured."""


def visible(text: str) -> str:
    """Returns the text with every character that has no shape, or reorders others, made visible."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _HIDDEN:
        return character
    return _PICTURES.get(ord(character), f"⟨U+{ord(character):04X}⟩")


def cut(text: str, limit: int) -> tuple[str, int]:
    """Returns the first characters of a text and how many are left out."""
    return text[:limit], max(0, len(text) - limit)


def number(value: float | None, digits: int = 2) -> str:
    """Returns a number, thousands apart if it is whole."""
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a share in percent."""
    return NONE if value is None else f"{100 * value:.{digits}f}\u202f%"


def points(value: float | None) -> str:
    """Returns a difference of shares in percentage points, with its sign."""
    if value is None:
        return NONE
    return f"{100 * value:+.1f}".replace("-", "\u2212")


def p_value(value: float) -> str:
    """Returns a p-value as one writes it after the letter p."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
