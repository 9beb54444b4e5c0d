import ast
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autodidact_contract.stages.answers import Answers
from autodidact_worker.answers import reading
from autodidact_worker.answers.reading import (
    TRIGGER,
    Read,
    equal,
    read_gold,
    read_result,
    read_text,
)

PUBLISHED, ROBUST = (Answers(rules=rules, kind="number") for rules in ("rcCompat", "robust"))
PUBLISHED_CHOICE, ROBUST_CHOICE = (
    Answers(rules=rules, kind="choice") for rules in ("rcCompat", "robust")
)
ROBUST_TEXT = Answers(rules="robust", kind="text")
EVERY = [
    Answers(rules=rules, kind=kind, percent=percent)
    for rules in ("rcCompat", "robust")
    for kind in ("number", "choice", "text")
    for percent in ("strip", "reject")
]
OPTIONS = ("a", "b", "c", "d", "e")


def graded(gold: str, said: str, rules: Answers, options: tuple[str, ...] = ()) -> float:
    """1 where the answer after a trigger is right, 0.1 where it is wrong, 0 where it is none."""
    wanted = read_gold(gold, rules, options).value
    found = read_text(f"because{TRIGGER}{said}", rules, options).value
    assert wanted is not None
    return 0 if found is None else 1 if equal(wanted, found, rules) else 0.1


@pytest.mark.parametrize(
    ("gold", "said", "published", "robust"),
    [
        ("18", "18", 1, 1),
        ("18", "18.0", 1, 1),
        ("18", "18.", 1, 1),
        ("18", "1.8e1", 1, 1),
        ("18", " 18 ", 1, 1),
        ("7", "+7", 1, 1),
        ("-3", "-3", 1, 1),
        ("0.5", ".5", 1, 1),
        ("1000", "1000.0", 1, 1),
        ("1000", "1_000", 1, 1),
        ("1000", "1e3", 1, 1),
        ("1000", "1,000", 0, 1),
        ("70,000", "70000", 1, 1),
        ("70,000", "70,000", 0, 1),
        ("18", "$18", 0, 1),
        ("18", "\\$18", 0, 1),
        ("18", "$18$", 0, 1),
        ("1234.5", "US$1,234.50", 0, 1),
        ("18", "18 €", 0, 1),
        ("-18", "-$18", 0, 1),
        ("18", "18%", 0, 0),
        ("18", "18 percent", 0, 0),
        ("18", "18 dollars", 0, 1),
        ("18", "18 square feet.", 0, 1),
        ("60", "60 km/h", 0, 1),
        ("18", "**18**", 0, 1),
        ("0.75", "3/4", 0, 1),
        ("2.5", "2 1/2", 0, 1),
        ("-2.5", "-2 1/2", 0, 1),
        ("18", "17.995", 1, 1),
        ("18", "18.02", 0.1, 0.1),
        ("18", "18.01", 0.1, 1),  # the difference is 0.0100000000000016 in floating point
        ("0.036", "0.033", 1, 0.1),
        ("0", "0.01", 1, 0.1),
        ("0", "0.0000005", 1, 1),
        ("18", "nan", 0.1, 0),
        ("18", "inf", 0.1, 0),
        ("18", "-Infinity", 0.1, 0),
        ("18", "1e999", 0.1, 0),
        ("18", "", 0, 0),
        ("18", "eighteen", 0, 0),
        ("-3", "\u22123", 0, 1),
        ("18", "\uff11\uff18", 1, 1),
        ("1", "3/0", 0, 0),
        ("18", "18¥", 0, 1),
        ("18", "\uffe518", 0, 1),
        ("18", "18/hour", 0, 1),
        ("3", "3 million", 0, 0),
        ("3", "3i", 0, 0),
        ("3", "3 / x", 0, 0),
        ("2", "2 and a half", 0, 0),
        ("10", "10²", 0, 0),
        ("2", "2½", 0, 0),
        ("18", "18 or 19", 0, 0),
        ("18", "18-20", 0, 0),
        ("18", "x = 18", 0, 0),
        ("18", "--18", 0, 0),
        ("18", f"3{TRIGGER}18", 1, 1),
        ("18", f"18{TRIGGER}3", 0.1, 0.1),
        ("18", "18\n\nQuestion:\nWhat next?", 0, 1),
        ("18", "\n18", 1, 1),
    ],
)
def test_numbers(gold: str, said: str, published: float, robust: float) -> None:
    """Each rule set gives an answer its reward: right, wrong, or nothing to read."""
    assert graded(gold, said, PUBLISHED) == published
    assert graded(gold, said, ROBUST) == robust


def test_a_percent_sign_goes_by_option() -> None:
    """Stripped, 18% is 18 in answers and in gold answers."""
    strip = ROBUST.model_copy(update={"percent": "strip"})
    for said in ("18%", "18 %", "18\\%", "18 percent", "18% of them"):
        assert graded("18", said, strip) == 1
    assert read_gold("18%", strip) == Read("18", "ok")
    assert read_gold("18%", ROBUST) == Read(None, "not-a-number")


@pytest.mark.parametrize(
    ("gold", "said", "published", "robust"),
    [
        ("b", "B", 1, 1),
        ("b", "b", 1, 1),
        ("B", "b", 1, 1),
        ("b", "'b'", 1, 1),
        ("b", '"B"', 1, 1),
        ("b", "b)", 0.1, 1),
        ("b", "(b)", 0.1, 1),
        ("b", "B.", 0.1, 1),
        ("b", "b ) 38", 0.1, 1),
        ("b", "**B**", 0.1, 1),
        ("b", "option b", 0.1, 1),
        ("b", "\uff42", 0.1, 1),
        ("b", "c", 0.1, 0.1),
        ("b", "none", 0.1, 0),
        ("b", "5", 0.1, 0),
        ("b", "f", 0.1, 0),
        ("b", "b or c", 0.1, 0),
        ("b", "beta", 0.1, 0),
        ("b", "b38", 0.1, 0),
        ("b", "b.5", 0.1, 0),
        ("b", "", 0.1, 0),
    ],
)
def test_choices(gold: str, said: str, published: float, robust: float) -> None:
    """The published code takes any text for a choice, robust only the question's options."""
    assert graded(gold, said, PUBLISHED_CHOICE, OPTIONS) == published
    assert graded(gold, said, ROBUST_CHOICE, OPTIONS) == robust


def test_options_are_the_questions_own() -> None:
    """A letter counts where the question has it, in the question's spelling."""
    assert read_gold("f", ROBUST_CHOICE, ("A)", "F)")) == Read("F", "ok")
    assert read_gold("2", ROBUST_CHOICE, ("1", "2")) == Read("2", "ok")
    assert read_gold("a", ROBUST_CHOICE) == Read(None, "not-an-option")


@pytest.mark.parametrize(
    ("rules", "text", "read"),
    [
        (PUBLISHED, "18", Read("18.0", "ok")),
        (PUBLISHED, "so it is 18", Read(None, "not-a-number")),
        (PUBLISHED, "Therefore, the answer is: 18", Read(None, "not-a-number")),
        (PUBLISHED, "so\nTherefore, the answer is:18", Read(None, "not-a-number")),
        (PUBLISHED, "3\nAnswer reasoning:\n18", Read("18.0", "ok")),
        (PUBLISHED, "\nAnswer reasoning:\n18", Read("18.0", "ok")),
        (PUBLISHED, f"{TRIGGER}18", Read(None, "not-a-number")),
        (PUBLISHED, f"so{TRIGGER}", Read(None, "not-a-number")),
        (PUBLISHED, " \n ", Read(None, "empty")),
        (PUBLISHED_CHOICE, " So it's B\n", Read("so its b", "ok")),
        (ROBUST, "18", Read(None, "no-trigger")),
        (ROBUST, "Therefore, the answer is: 18", Read("18", "ok")),
        (ROBUST, "so\nTherefore, the answer is:18", Read("18", "ok")),
        (ROBUST, "so. Therefore, the answer is:", Read(None, "empty")),
        (ROBUST_CHOICE, "b", Read(None, "no-trigger")),
    ],
)
def test_a_text_without_the_published_trigger(rules: Answers, text: str, read: Read) -> None:
    """The published code reads the whole text then; robust wants the trigger's words."""
    assert read_text(text, rules, OPTIONS) == read


@pytest.mark.parametrize(
    ("kind", "value", "published", "robust"),
    [
        ("int", "18", "18.0", "18"),
        ("float", "18.0", "18.0", "18"),
        ("fraction", "18.0", "18.0", "18"),
        ("number", "18.0", "18.0", "18"),
        ("float", "0.30000000000000004", "0.30000000000000004", "0.3"),
        ("float", "1e+22", "1e+22", "1e+22"),
        ("str", "18", "18.0", "18"),
        ("str", "$18", None, "18"),
        ("str", "eighteen", None, None),
        ("float", "nan", "nan", None),
        ("float", "inf", "inf", None),
        ("bool", "1.0", "1.0", None),
        ("sympy", "18", None, None),
    ],
)
def test_numbers_that_programs_return(
    kind: str, value: str, published: str | None, robust: str | None
) -> None:
    """What ``float`` converts counts as published; robust refuses NaN, infinity and truth."""
    assert read_result(kind, value, PUBLISHED).value == published
    assert read_result(kind, value, ROBUST).value == robust


def test_choices_that_programs_return() -> None:
    """As published anything has a text; robust wants an option."""
    assert read_result("str", "B", PUBLISHED_CHOICE) == Read("b", "ok")
    assert read_result("sympy", "X", PUBLISHED_CHOICE) == Read("x", "ok")
    assert read_result("str", "B)", ROBUST_CHOICE, OPTIONS) == Read("b", "ok")
    assert read_result("int", "2", ROBUST_CHOICE, OPTIONS) == Read(None, "not-an-option")


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("18.00", "18"),
        ("007", "7"),
        ("-0", "0"),
        ("3/4", "0.75"),
        ("1/3", "0.333333333333"),
        ("0.000000001", "1e-9"),
        ("1e400", None),
        ("1e-400", "0"),
        ("1e21", "1e+21"),
        ("123456789012345678901", "123456789012345678901"),
        ("-1234567890123.5", "-1234567890124"),
        ("-" + "7" * 35, "-7." + "7" * 34 + "e+34"),
        ("9" * 200, "9." + "9" * 199 + "e+199"),
        ("9" * 201, None),
    ],
)
def test_canonical_numbers(answer: str, value: str | None) -> None:
    """Twelve significant digits, the whole part always whole, no exponent where it is short."""
    assert read_gold(answer, ROBUST).value == value


def test_unreadable_gold_answers_say_why() -> None:
    """Also those that the published code reads but nothing can equal."""
    assert read_gold("nan", PUBLISHED) == Read(None, "not-finite")
    assert read_gold("1e999", PUBLISHED) == Read(None, "not-finite")
    assert read_gold("3/4", PUBLISHED) == Read(None, "not-a-number")
    assert read_gold("inf", ROBUST) == Read(None, "not-finite")
    assert read_gold(" '' ", PUBLISHED_CHOICE) == Read(None, "empty")
    assert read_gold(" . ", ROBUST_TEXT) == Read(None, "empty")


def test_texts() -> None:
    """White space, case and a full stop do not matter to robust; all of the text is the answer."""
    assert graded("New York", "new  york.", ROBUST_TEXT) == 1
    assert graded("New York", "York", ROBUST_TEXT) == 0.1
    assert graded("one\ntwo", "One two", ROBUST_TEXT) == 1
    published = Answers(rules="rcCompat", kind="text")
    assert graded("'New York'", "NEW YORK", published) == 1
    assert graded("New York", "New  York", published) == 0.1


@pytest.mark.parametrize("rules", EVERY, ids=str)
@pytest.mark.parametrize(
    "said",
    [
        "9" * 1_000_000,
        "9" * 1_000_000 + "x",
        "1," * 500_000,
        "(" * 1_000_000,
        "((" * 50 + " 1/1" * 200_000,
        " " * 1_000_000 + "b",
        TRIGGER * 30_000,
        "a" * 1_000_000,
        "1_" * 500_000,
        "b" + " " * 190 + "x",
        "1 " * 99,
        "0" * 1_000_000 + ".5",
    ],
    ids=lambda said: f"{said[:3]!r}...",
)
@pytest.mark.timeout(20)
def test_a_hostile_text_takes_no_time(rules: Answers, said: str) -> None:
    """Reading is linear in the text; a pattern that explodes would not end here."""
    read_text(TRIGGER + said, rules, OPTIONS)
    read_text(said, rules, OPTIONS)
    read_gold(said, rules, OPTIONS)


ANY_RULES = st.sampled_from(EVERY)
# Random text hardly ever is a number; this is, now and then.
NUMBERISH = st.text("0123456789.,/-+eE_ $%\u2212infa", max_size=12)


@given(ANY_RULES, st.text() | NUMBERISH | st.floats().map(repr) | st.integers().map(str))
@example(ROBUST, "1 2/3")
@example(ROBUST_TEXT, "a. .")
def test_reading_is_total(rules: Answers, text: str) -> None:
    """No text raises, equality is reflexive, and a robust value is read as itself."""
    for read in (
        read_text(TRIGGER + text, rules, OPTIONS),
        read_result("str", text, rules, OPTIONS),
        read_gold(text, rules, OPTIONS),
    ):
        assert (read.value is not None) == (read.reason == "ok")
        if read.value is None:
            continue
        finite = rules.kind != "number" or math.isfinite(float(read.value))
        assert equal(read.value, read.value, rules) == finite
        if rules.rules == "robust":
            assert read_gold(read.value, rules, OPTIONS) == read


@given(st.text(max_size=30), ANY_RULES)
@example('say "hi"', PUBLISHED)
@example('""""""', PUBLISHED)
@example("ends in a backslash\\", PUBLISHED)
@example('\\"""\\', PUBLISHED)
@example("null\0000", PUBLISHED)
def test_no_question_breaks_its_program(question: str, rules: Answers) -> None:
    """Whatever is asked stays inside the docstring, word by word."""
    source = reading.program(question, "    return 18", rules)
    function: Any = ast.parse(source).body[-1]
    assert len(function.body) == 2
    said = function.body[0].value.value
    assert said == "\n".join(question.strip().replace("\r\n", "\n").split("\r"))
    assert isinstance(function.body[1], ast.Return)


def test_the_program_continues_its_prompt() -> None:
    """What the model saw ends in the head of what is run."""
    head = 'def solution():\n    """How many?"""\n'
    asked = reading.prompt(" How many? ", "program")
    assert asked == f"Question:\nHow many?\nAnswer reasoning:\n{head}"
    body = reading.target("\n    return 18\n", "18", "program")
    source = reading.program(" How many? ", body, ROBUST)
    assert source == f"import math\nimport sympy\n{head}    return 18\n"


def test_the_layout_of_words() -> None:
    """The published literals, with the gold answer as it is."""
    assert reading.prompt(" How many? ", "language") == "Question:\nHow many?\nAnswer reasoning:\n"
    written = reading.target(" 2 and 2.\n", " 4,000 ", "language")
    assert written == "2 and 2.\nTherefore, the answer is: 4,000"
    assert read_text(written, ROBUST) == Read("4000", "ok")


def test_a_program_is_cut_as_published() -> None:
    """At the first blank line of what the model wrote, under rcCompat only."""
    body = "    x = 1\n  \n    return x"
    assert reading.program("q\n\nq", body, PUBLISHED).endswith('q"""\n    x = 1\n')
    assert reading.program("q", body, ROBUST).endswith("    x = 1\n  \n    return x\n")


def test_a_lost_leading_space_is_put_back() -> None:
    """The body's first line stands where the docstring does."""
    source = reading.program("q", "   x = 1\n    return x", ROBUST)
    assert source.endswith("    x = 1\n    return x\n")
