from typing import Any

import pytest

from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.data import GeneratePrompts
from autodidact_worker.curation import prompts
from autodidact_worker.judging import rubrics
from autodidact_worker.judging.rubrics import fill
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.rows import text_id
from autodidact_worker.toys import copying

ADDITIVE = rubrics.get("additive-v1")
TOY = rubrics.get("toy-copy-v1")
WORDS = [
    "image",
    "images",
    "graph",
    "graphs",
    "picture",
    "pictures",
    "file",
    "files",
    "map",
    "maps",
    "draw",
    "plot",
]
SEEDS = [f"human prompt number {i}" for i in range(20)]
MACHINE = [f"machine prompt number {i}" for i in range(20)]


def config(**changes: Any) -> GeneratePrompts:
    """The paper's numbers with the filters of Self-Instruct."""
    values: dict[str, Any] = {
        "rubric": "additive-v1",
        "count": 10,
        "sampling": Sampling(temperature=0.6, top_p=0.9, max_new_tokens=64),
        "seed_demonstrations": 6,
        "generated_demonstrations": 2,
        "min_words": 4,
        "max_words": 150,
        "excluded_words": (*WORDS, "go to"),
        "max_rouge": 0.7,
        "attempts_per_prompt": 10,
    }
    return GeneratePrompts(**values | changes)


@pytest.mark.parametrize(("pool", "human"), [(0, 8), (1, 7), (2, 6), (20, 6)])
def test_six_human_and_two_machine_demonstrations(pool: int, human: int) -> None:
    """While the machine pool is small, human prompts take its places."""
    call = prompts.call(ADDITIVE, config(), SEEDS, MACHINE[:pool], 0)
    assert len(set(call.demonstrations)) == 8
    assert sum(text in SEEDS for text in call.demonstrations) == human


def test_demonstrations_are_drawn_by_the_seed() -> None:
    """The same call shows the same, another call or seed shows others."""

    def shown(number: int, seed: int = 0) -> tuple[str, ...]:
        return prompts.call(ADDITIVE, config(seed=seed), SEEDS, MACHINE, number).demonstrations

    assert shown(0) == shown(0)
    assert len({shown(0), shown(1), shown(0, seed=1)}) == 3


def test_too_few_seeds_is_the_users_to_fix() -> None:
    """Seven seed prompts cannot fill eight places; the message has both numbers."""
    with pytest.raises(UserError, match=r"7 seed prompts .* but 8 are shown"):
        prompts.call(ADDITIVE, config(), SEEDS[:7], [], 0)


def test_the_list_ends_in_the_next_number() -> None:
    """The model is to continue after the number of the entry it writes; line breaks would end one."""
    assert ADDITIVE.join(["write a\npoem", "cook"]) == "1. write a poem\n2. cook\n3."
    call = prompts.call(ADDITIVE, config(), SEEDS, MACHINE, 0)
    assert call.prompt.endswith("\n9.")


def test_the_toy_form_is_one_line() -> None:
    """Demonstrations are separated by one space, and one is at the end."""
    call = prompts.call(
        TOY,
        config(seed_demonstrations=2, generated_demonstrations=0),
        ["Aabcde:", "Ahhhhh:"],
        [],
        0,
    )
    assert sorted(call.prompt) == sorted("PAabcde: Ahhhhh: ")
    assert call.prompt.startswith("PA")
    assert call.prompt.endswith(": ")


def test_the_toy_is_asked_as_it_was_taught() -> None:
    """Seed data and stages write the same few-shot form, or the toy's model would see neither."""
    shown = ["Aabcde:", "Ahhhhh:"]
    assert fill(TOY.prompts, {"demonstrations": TOY.join(shown)}) == copying.writing_prompt(shown)
    assert TOY.score.search(copying.judgement("Aabcde:", "abcda"))["number"] == "4"


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        (" Write a poem.", True, "Write a poem."),
        (" Write a poem.\n10. Another one", False, "Write a poem."),
        (" Write a poem.\n10.", False, "Write a poem."),
        ("9. Write a\npoem.\n\n10. Another", True, "Write a poem."),
        (" Write a po", False, None),
        (" Count to 3.5 and\n3 apples", True, "Count to 3.5 and 3 apples"),
        ("", True, ""),
    ],
)
def test_the_first_entry_is_cut_from_a_continuation(
    text: str, ended: bool, expected: str | None
) -> None:
    """An entry ends at the next number or at the model's own end, and otherwise is unfinished."""
    assert ADDITIVE.cut(text, ended) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Write three words", "too-short"),
        ("Name four nice words", None),
        ("word " * 150, None),
        ("word " * 151, "too-long"),
        ("Draw me a nice house", "excluded-word"),
        ("Describe the PICTURE in words", "excluded-word"),
        ("How do I go to Rome?", "excluded-word"),
        ("Explain what a drawer is for", None),
        ("Tell me about mapping types", None),
        ("Write a program that sorts numbers", "program"),
        ("write a program that sorts numbers", "program"),
        ("Please write a program that sorts", None),
        ("- a list entry here", "punctuation"),
        ("\u00bfQu\u00e9 es una casa?", "non-ascii"),
        ("Qu\u00e9 es una casa?", None),
    ],
)
def test_filters(text: str, reason: str | None) -> None:
    """Length, whole excluded words, programs, punctuation and other scripts, as Self-Instruct."""
    assert prompts.rejection(text, config()) == reason


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("write a poem about the sea", "write a poem about the sky", 5 / 6),
        ("Write a POEM!", "write, a poem", 1.0),
        ("one two three", "four five six", 0.0),
        ("a b c d", "b d", 2 * 2 / 6),
        ("a b", "b a", 0.5),
        ("running", "run", 0.0),
        (
            "\u043d\u0430\u043f\u0438\u0448\u0438 \u0441\u0442\u0438\u0445",
            "\u043d\u0430\u043f\u0438\u0448\u0438 \u043f\u0438\u0441\u044c\u043c\u043e",
            0.5,
        ),
        ("\u5199\u4e00\u9996\u8bd7", "\u5199\u4e00\u9996\u6b4c", 0.75),
        ("!!!", "...", 0.0),
    ],
)
def test_rouge_l(one: str, two: str, expected: float) -> None:
    """Hand-computed F1 of the longest common subsequence of words, in any script."""
    assert prompts.Novelty([one]).rouge_max(two) == pytest.approx(expected)


def test_novelty_is_against_the_nearest_text() -> None:
    """The largest F1 over all texts seen counts, also those added later."""
    seen = prompts.Novelty(["one two three", "write a poem about the sea"])
    assert seen.rouge_max("write a poem about the sky") == pytest.approx(0.8333, abs=1e-4)
    seen.add("write a poem about the sky")
    assert seen.rouge_max("write a poem about the sky") == 1
    assert prompts.Novelty([]).rouge_max("anything") == 0
    assert "one two three" in seen
    assert "one two" not in seen


def test_diversity() -> None:
    """First words are counted once whatever their case; means are over prompts."""
    rows = [
        prompts.accepted("Name four nice words", ["a"], 0.25),
        prompts.accepted("name two", ["b"], 0.75),
        prompts.accepted("Sing", [], 0.5),
    ]
    counts, means = prompts.diversity(rows)
    assert counts == {"first-words": 2}
    assert means["rougeMax"].value == 0.5
    assert means["rougeHighest"].value == 0.75
    assert means["words"].value == pytest.approx(7 / 3)
    # Of seven words "name" comes twice; its neighbours differ.
    assert means["distinct1"].value == pytest.approx(6 / 7)
    assert means["distinct2"].value == 1
    counts, means = prompts.diversity([rows[0], rows[0]])
    assert (means["distinct1"].value, means["distinct2"].value) == (0.5, 0.5)
    assert rows[0].id == text_id("Name four nice words")
    assert rows[0].demonstrations == (text_id("a"),)
