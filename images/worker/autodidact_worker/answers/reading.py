"""Questions as the model sees them, and answers as they are read out of what it wrote. Pure.

Two rule sets. ``rcCompat`` is the code published with arXiv 2401.08967 (mwp_ReFT), oddities
included: commas are taken out of gold answers only, whatever Python's ``float`` accepts is a number,
a text without a trigger is an answer as a whole, and a choice always has some value. ``robust`` is
what people mean.

An answer's value is a string in the rule set's canonical form: ``repr`` of a float or a cleaned
text under ``rcCompat``; under ``robust`` a decimal such as "18" or "0.75", the question's own
spelling of an option, or a text with its white space collapsed. Reading a robust value again gives
the same value.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

from autodidact_contract.records import ReadReason
from autodidact_contract.stages.answers import Answers

TRIGGER = "\nTherefore, the answer is: "
"""What stands between a chain of thought and its answer, as published."""

_QUESTION = "Question:\n"
_REASONING = "\nAnswer reasoning:\n"
_INDENT = "    "
_IMPORTS = "import math\nimport sympy\n"


@dataclass(frozen=True)
class Read:
    """What was read: a canonical value and why it is so; no value where nothing could be read."""

    value: str | None
    reason: ReadReason


# Layout.


def prompt(question: str, reasoning: Literal["language", "program"]) -> str:
    """Returns what the model continues.

    For programs the def line and the docstring belong to it, so that the model writes the body.

    Source: ``setup_cot`` of the published code. Departure: there SFT also learns to write def line
    and docstring, here they are prompt in SFT as they are in RL.
    """
    question = question.strip()
    text = f"{_QUESTION}{question}{_REASONING}"
    return text if reasoning == "language" else text + _head(question)


def target(reasoning_text: str, answer: str, reasoning: Literal["language", "program"]) -> str:
    """Returns what SFT teaches the model to write after the prompt, without the end token.

    Args:
        reasoning_text: The chain of thought, or the body of ``solution()``, indented.
        answer: The gold answer as its row has it; programs do not say it.
        reasoning: Which of the two.
    """
    if reasoning == "program":
        return reasoning_text.strip("\n").rstrip()
    return f"{reasoning_text.strip()}{TRIGGER}{answer.strip()}"


def program(question: str, completion: str, rules: Answers) -> str:
    """Returns the whole program that a completion makes of a question's prompt.

    Under ``rcCompat`` the body ends at its first blank line.

    Source: ``process_code`` of the published code. Departures: only the completion is cut, so that
    a blank line inside a question does no harm; ``sys.exit`` is not replaced, as programs run in a
    sandbox; the body's first line is indented as the docstring is, which no program that runs can
    notice, since some tokenizers lose a completion's leading space.
    """
    body = completion
    if rules.rules == "rcCompat":
        lines = body.split("\n")
        blank = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
        body = "\n".join(lines[:blank])
    body = re.sub(r"\A[ \t]*(?=\S)", _INDENT, body)
    return f"{_IMPORTS}{_head(question.strip())}{body}\n"


def _head(question: str) -> str:
    r"""Returns def line and docstring.

    Backslashes, null characters and quotes that would end the docstring are escaped: of quotes that
    stand together all but the last, and one at the very end. The published code breaks there.
    """
    text = question.replace("\\", "\\\\").replace("\0", "\\x00")
    text = re.sub(r'"(?="|\Z)', r"\"", text)
    return f'def solution():\n{_INDENT}"""{text}"""\n'


# Reading.


def read_text(text: str, rules: Answers, options: Sequence[str] = ()) -> Read:
    """Returns the answer in a completion written in words.

    The last trigger counts. ``robust`` needs one, anywhere in the text, and of numbers and choices
    reads the line it stands on or the next one that is not blank. ``rcCompat`` needs the trigger's
    own line break and trailing space, and reads everything after it, or the whole text.

    Args:
        text: What the model wrote, without its prompt and end token.
        rules: Rule set, and what kind of answer it is.
        options: The letters of a choice.
    """
    if rules.rules == "rcCompat":
        # The published code takes the same steps on prompt and completion together.
        own = text.rstrip().split(_REASONING)[-1].strip()
        return _read_published(own.split(TRIGGER)[-1], rules)
    _, found, said = text.rpartition(TRIGGER.strip())
    if not found:
        return Read(None, "no-trigger")
    return _read(said, rules, options)


_NUMBERS = {
    "rcCompat": ("int", "float", "fraction", "number", "str", "bool"),
    "robust": ("int", "float", "fraction", "number", "str"),
}


def read_result(kind: str, value: str, rules: Answers, options: Sequence[str] = ()) -> Read:
    """Returns the answer that a program returned.

    Numbers and texts are read as if they had been written. True is 1 under ``rcCompat``, as in
    Python, and no number under ``robust``.

    Args:
        kind: What was returned, see ``sandbox.pool.Ran``; a number is one of int, float, bool,
            fraction, number, or a str that reads as one.
        value: It as text; of numbers what ``float`` reads as its value.
        rules: Rule set, and what kind of answer it is.
        options: The letters of a choice.
    """
    if rules.kind == "number" and kind not in _NUMBERS[rules.rules]:
        return Read(None, "not-a-number")
    if rules.rules == "rcCompat":
        return _read_published(value, rules)
    return _read(value, rules, options)


def read_gold(answer: str, rules: Answers, options: Sequence[str] = ()) -> Read:
    """Returns the value of a gold answer; one that has none must not reach training.

    Departure: ``rcCompat`` refuses NaN and infinity, to which no answer is equal.

    Args:
        answer: As its row has it.
        rules: Rule set, and what kind of answer it is.
        options: The letters of a choice.
    """
    if rules.rules == "robust":
        return _read(answer, rules, options)
    if rules.kind != "number":
        read = _read_published(answer, rules)
        return read if read.value else Read(None, "empty")
    read = _read_published(answer.replace(",", ""), rules)
    if read.value is not None and not math.isfinite(float(read.value)):
        return Read(None, "not-finite")
    return read


def equal(gold: str, value: str, rules: Answers) -> bool:
    """Returns whether a value is the gold value, both as they were read.

    Numbers: ``rcCompat`` allows a difference of 1e-2 in floating point, so 18.01 is not 18 and
    0.033 is 0.036; ``robust`` allows max(1e-6, min(1e-2, 0.01 * abs(gold))) exactly. Robust texts
    are compared without regard to case; formulas are the business of ``formulas.Formulas``.
    """
    if rules.kind == "number":
        if rules.rules == "rcCompat":
            return abs(float(value) - float(gold)) <= 1e-2
        exact = Decimal(gold)
        return abs(Decimal(value) - exact) <= max(_LEAST, min(_MOST, _MOST * abs(exact)))
    if rules.kind == "text" and rules.rules == "robust":
        return gold.casefold() == value.casefold()
    return gold == value


_LEAST, _MOST = Decimal("1e-6"), Decimal("1e-2")


def _read_published(said: str, rules: Answers) -> Read:
    """Returns what the published code makes of a text: ``floatify``, or a choice's cleaning.

    It knows no texts; they are treated as choices.
    """
    if rules.kind != "number":
        return Read(said.lower().replace('"', "").replace("'", "").strip(), "ok")
    try:
        return Read(repr(float(said.strip())), "ok")
    except ValueError:
        return Read(None, "not-a-number" if said.strip() else "empty")


_MAX_LINE = 200
"""Characters of a number or a choice; what is longer is neither."""

# Full-width forms of ASCII, and the minus sign U+2212. Not NFKC: it makes 102 of 10 squared.
_PLAIN = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " ", 0x2212: "-"}
_MARKUP = " \t\r\f\v#*_`\"'()[]{}"


def _read(said: str, rules: Answers, options: Sequence[str]) -> Read:
    """Reads a robust answer, which may have markup around it and more lines after it."""
    if rules.kind == "text":
        value = " ".join(said.split()).rstrip(" .")
        return Read(value, "ok") if value else Read(None, "empty")
    line = said.strip().partition("\n")[0]
    if len(line) > _MAX_LINE:
        return Read(None, "not-a-number" if rules.kind == "number" else "not-an-option")
    line = line.translate(_PLAIN)
    if not line.strip(_MARKUP):
        return Read(None, "empty")
    if rules.kind == "choice":
        return _choice(line, options)
    return _number(line.strip(_MARKUP), percent=rules.percent == "strip")


# A letter alone, or one with the mark that sets it off from the option's text: "b", "(b)", "B. 12".
_OPTION = re.compile(
    r"(?:option\s+)?([^\W_]{1,3})(?:[\s)\].,:;*\"'`]*\Z|\s*[).:]\s)", re.IGNORECASE
)


def _choice(line: str, options: Sequence[str]) -> Read:
    found = _OPTION.match(line.strip().lstrip(_MARKUP))
    if found:
        for option in options:
            if option.strip(_MARKUP + ".:").casefold() == found[1].casefold():
                return Read(option.strip(_MARKUP + ".:"), "ok")
    return Read(None, "not-an-option")


_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++(?:_[0-9]++)*+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]{{1,6}})?+"
# The block of currency symbols and those outside it, full-width ones too.
_CURRENCY = r"(?:[A-Z]{0,3}\\?[$\u00a2-\u00a5\u0e3f\u20a0-\u20c0\uffe0-\uffe6])"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{_CURRENCY}\s*)?(?P<inner>[+-]?)(?P<first>{_DECIMAL})"
    rf"(?:\s*/\s*(?P<under>{_DECIMAL})"
    rf"|\s+(?P<above>[0-9]+)\s*/\s*(?P<below>[0-9]+))?"
    rf"\s*(?P<percent>\\?%|per\s?cent(?:age)?\b)?\s*{_CURRENCY}?(?P<rest>.*)"
)
_UNIT_MARKS = frozenset("°/.'-²³ \t")
# Words that make another number, or another answer, of the one before them.
_NO_UNIT = re.compile(
    r"\b(?:and|or|to|plus|minus|times|x|i|pi|k|hundred|thousand|million|billion|trillion|bn|dozen"
    r"|half|halves|thirds|fourths|fifths|sixths|eighths|tenths|hundredths|squared|cubed)\b"
    r"|(?<!\S)[-/](?!\S)",
    re.IGNORECASE,
)
_MAX_UNIT_WORDS = 4
_DIGITS_KEPT = 12
_MAX_EXPONENT = 308
_EXACT = Context(prec=2 * _MAX_EXPONENT, rounding=ROUND_HALF_EVEN, traps=[])


def _number(text: str, *, percent: bool) -> Read:
    """Returns a number without its thousands separators, currency, unit and percent sign.

    "3/4" is a fraction, "2 1/2" a mixed number. "3 million" and "2 and a half" are refused rather
    than read as 3 and 2.
    """
    found = _NUMBER.fullmatch(text)
    if not found:
        word = text.lstrip("+-").lower()
        return Read(None, "not-finite" if word in ("nan", "inf", "infinity") else "not-a-number")
    signs = found["sign"] + found["inner"]
    if len(signs) > 1 or (found["percent"] and not percent) or not _is_unit(found["rest"]):
        return Read(None, "not-a-number")
    number = _decimal(found["first"])
    if found["under"]:
        number = _EXACT.divide(number, _decimal(found["under"]))
    elif found["above"]:
        part = _EXACT.divide(_decimal(found["above"]), _decimal(found["below"]))
        number = _EXACT.add(number, part)
    if not number.is_finite() and "/" in text:  # 3/0
        return Read(None, "not-a-number")
    if not number.is_finite() or number.adjusted() > _MAX_EXPONENT:
        return Read(None, "not-finite")
    return Read(_canonical(_EXACT.minus(number) if signs == "-" else number), "ok")


def _decimal(digits: str) -> Decimal:
    return _EXACT.create_decimal(digits.replace(",", "").replace("_", ""))


def _is_unit(rest: str) -> bool:
    rest = rest.strip(" \t.,;:!")
    if not rest:
        return True
    return (
        len(rest.split()) <= _MAX_UNIT_WORDS
        and (rest[0].isalpha() or rest[0] in "°/")
        and all(letter.isalpha() or letter in _UNIT_MARKS for letter in rest)
        and not _NO_UNIT.search(rest)
    )


def _canonical(number: Decimal) -> str:
    """Returns a number as text: 12 significant digits, but never less than its whole part.

    Twelve digits make one value of 0.3 and 0.1 + 0.2, or of 1/3 however it was computed, and lie
    far below the tolerance.
    """
    exponent = min(0, number.adjusted() - _DIGITS_KEPT + 1)
    if exponent < -_MAX_EXPONENT:
        return "0"
    number = _EXACT.quantize(number, Decimal((0, (1,), exponent))).normalize(_EXACT)
    if not number:
        return "0"
    plain = -7 <= number.adjusted() <= 20
    return f"{number:f}" if plain else f"{number:e}"
