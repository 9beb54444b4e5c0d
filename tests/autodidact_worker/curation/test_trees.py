"""Seed data out of ranked conversation trees, by hand-made trees."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import (
    Conversation,
    Evaluation,
    Instruction,
    Message,
    RankedReplies,
    SeedPrompt,
)
from autodidact_contract.stages.data import BuildEft
from autodidact_worker.curation import trees
from autodidact_worker.curation.trees import Ranked
from autodidact_worker.judging import rubrics
from autodidact_worker.judging.judgement import render
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.toys import copying
from support.seed_trees import CONFIG, judged, message

FLAT = [
    message("a"),
    message("a1", "a", rank=1),
    message("a0", "a", rank=0),
    message("a2", "a", rank=2, deleted=True),
    message("a3", "a", rank=3, lang="de"),
    message("a0-next", "a0", role="prompter"),  # a second turn
    message("b", lang="de"),
    message("b0", "b", lang="de", rank=0),
    message("c"),
    message("c0", "c", rank=None),  # the only reply needs no rank
    message("d", lang="en-GB"),
    message("d0", "d", rank=0),
    message("d1", "d", rank=None),
    message("e"),
    message("f", deleted=True),
    message("f0", "f", rank=0),
    message("g", text=" text of a\n"),
    message("g0", "g", rank=0),
    message("h0", "gone", rank=0),
    message("h1", "h0", role="prompter"),
    message("i0", "i1"),
    message("i1", "i0"),
    message("j"),
    message("j0", "j", rank=4),
    message("j1", "j", rank=4),
    message("k", role="assistant"),
    message("k0", "k", role="prompter"),
]
"""Everything that can be wrong with a tree, once."""


def nested(flat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns trees of messages; those without a root are in none."""

    def grown(one: dict[str, Any]) -> dict[str, Any]:
        inner = [grown(other) for other in flat if other["parent_id"] == one["message_id"]]
        return {**one, "replies": inner}

    return [
        {"message_tree_id": one["message_id"], "prompt": grown(one), "tree_state": "ready"}
        for one in flat
        if one["parent_id"] is None
    ]


def turns(given: list[dict[str, Any]], language: str = "en") -> tuple[list[Ranked], Counter[str]]:
    """Returns what is found in messages or trees."""
    schema = Message if "message_id" in given[0] else Conversation
    return trees.first_turns([schema.model_validate(one) for one in given], language)


def test_first_turns_of_a_hand_made_forest() -> None:
    """Each first prompt in the language has its good replies, and all else is counted."""
    found, counts = turns(FLAT)
    assert found == [
        Ranked(prompt="text of a", replies=("text of a1", "text of a0"), ranks=(2, 1)),
        Ranked(prompt="text of c", replies=("text of c0",), ranks=(1,)),
        Ranked(prompt="text of j", replies=("text of j0", "text of j1"), ranks=(1, 1)),
    ]
    assert [turn.best for turn in found] == ["text of a0", "text of c0", "text of j0"]
    assert [turn.ordered for turn in found] == [True, False, False]
    assert counts == {
        "trees": 9,
        "unprompted": 1,
        "deleted": 2,
        "foreign-replies": 1,
        "other-language": 1,
        "unranked": 1,
        "unanswered": 1,
        "duplicates": 1,
        "orphans": 2,
        "cycles": 2,
    }


def test_trees_and_messages_say_the_same() -> None:
    """Both of Open Assistant's layouts give the same prompts; trees can have no orphans."""
    flat, flat_counts = turns(FLAT)
    found, counts = turns(nested(FLAT))
    assert found == flat
    assert counts == {k: v for k, v in flat_counts.items() if k not in ("orphans", "cycles")}


def test_another_language_is_another_forest() -> None:
    """Only the language that is asked for is taken."""
    assert [turn.prompt for turn in turns(FLAT, "de")[0]] == ["text of b"]


def test_two_messages_of_one_id_are_refused() -> None:
    """A parent that is two messages is none."""
    with pytest.raises(UserError, match="two messages have the id a1"):
        turns([*FLAT, message("a1", "a")])


@pytest.mark.parametrize("form", [FLAT, nested(FLAT)], ids=["messages", "trees"])
def test_files_of_both_layouts_are_read(form: list[dict[str, Any]], tmp_path: Path) -> None:
    """What a line is, the first one tells."""
    path = tmp_path / rows.DATA
    path.write_text("\n" + "".join(f"{json.dumps(one)}\n" for one in form))
    assert len(rows.read_conversations(path)) == len(form)
    path.write_text(json.dumps({"text": "no ids"}) + "\n")
    with pytest.raises(UserError, match=r"line 1: message_id: Field required"):
        rows.read_conversations(path)


MANY = [
    Ranked(prompt=f"p{i}", replies=("x", "y"), ranks=(1, 2) if i % 4 else (1, 1))
    for i in range(400)
]


def test_parts_have_no_prompt_in_common() -> None:
    """Every prompt is in one part, near the shares asked for, whatever order and seed.

    A run that goes on from the model of one with another seed holds out nothing it has learned.
    """
    parts = trees.split(MANY, CONFIG)
    prompts = [turn.prompt for part in parts.values() for turn in part]
    assert sorted(prompts) == sorted(turn.prompt for turn in MANY)
    assert {turn.prompt for turn in MANY if not turn.ordered} <= {
        turn.prompt for turn in parts["instructions"]
    }
    assert len(parts["validation"]) == 20
    assert 225 <= len(parts["instructions"]) <= 275  # 100 without order, half of 300
    assert 20 <= len(parts["held-out"]) <= 45  # a quarter of 130
    assert trees.split(MANY[::-1], CONFIG) == parts
    assert trees.split(MANY, CONFIG.model_copy(update={"seed": 4})) == parts


def test_instructions_are_capped() -> None:
    """Of more prompts than wanted some are in no part: they move no other part."""
    parts = trees.split(MANY, CONFIG)
    few = trees.split(MANY, CONFIG.model_copy(update={"instructions": 10}))
    assert few["instructions"] == parts["instructions"][:10]
    assert {**few, "instructions": []} == {**parts, "instructions": []}


def test_rows_of_each_part() -> None:
    """An instruction has the best reply, rankings have all, validation has prompts alone."""
    turn = Ranked(prompt="p", replies=("x", "y"), ranks=(2, 1))
    assert trees.row(turn, "instructions") == Instruction(prompt="p", response="y")
    assert trees.row(turn, "validation") == SeedPrompt(prompt="p")
    ranked = RankedReplies(prompt="p", replies=("x", "y"), ranks=(2, 1))
    assert [trees.row(turn, part) for part in ("judged", "held-out")] == [ranked, ranked]


@pytest.mark.parametrize(
    ("ranks", "scores", "loose", "strict"),
    [
        ((1, 2, 3), (5, 3, 1), None, None),
        ((1, 2, 3), (5, 3, 3), None, "tie"),
        ((1, 2, 3), (5, 1, 3), "inversion", "inversion"),
        ((1, 1, 2), (3, 5, 1), None, None),
        ((1, 1, 2), (3, 5, 3), None, "tie"),
        ((1, 2), (4, None), "unreadable", "unreadable"),
        ((2, 1), (4, 4), None, "tie"),
        ((1, 1), (4, 4), None, None),
    ],
)
def test_agreement_with_people(
    ranks: tuple[int, ...], scores: tuple[float | None, ...], loose: str | None, strict: str | None
) -> None:
    """Replies that people ranked equal may have any scores; strict wants the others told apart."""
    assert trees.disagreement(ranks, scores, "no-inversion") == loose
    assert trees.disagreement(ranks, scores, "strict") == strict


def test_the_first_attempt_that_agrees_is_kept() -> None:
    """All judgements of a prompt come from one attempt, with their texts."""
    found = trees.agreeing(judged((1, 5), (None, 2), (4, 2), (5, 1)), "strict")
    assert found == [
        Evaluation(prompt="Say hi.", response="Hi.", judgement="Score: 4", score=4),
        Evaluation(prompt="Say hi.", response="No.", judgement="Score: 2", score=2),
    ]


@pytest.mark.parametrize(
    ("attempts", "reason"),
    [
        ([(None, 3), (1, 5)], "inversion"),
        ([(None, 3), (None, None)], "unreadable"),
        ([(1, 5), (3, 3)], "tie"),
        ([], "too-long"),
    ],
)
def test_every_reason_why_judgements_are_not_kept(
    attempts: list[tuple[int | None, ...]], reason: str
) -> None:
    """Of several attempts the mildest disagreement is told."""
    assert trees.agreeing(judged(*attempts), "strict") == reason


def scored(**numbers: int) -> list[Evaluation]:
    """Returns so many judgements of each score, for example s4=6."""
    return [
        Evaluation(
            prompt=f"{score}/{i}",
            response="r",
            judgement=f"Score: {score[1:]}",
            score=int(score[1:]),
        )
        for score, number in numbers.items()
        for i in range(number)
    ]


@pytest.mark.parametrize(
    ("numbers", "share", "after"),
    [
        ({"s4": 16, "s3": 3, "s1": 1}, 0.5, {4: 4, 3: 3, 1: 1}),
        ({"s4": 16, "s3": 3, "s1": 1}, 0.75, {4: 12, 3: 3, 1: 1}),
        ({"s4": 16, "s3": 3, "s1": 1}, 1.0, {4: 16, 3: 3, 1: 1}),
        ({"s4": 3, "s3": 3, "s1": 2}, 0.5, {4: 3, 3: 3, 1: 2}),
        ({"s4": 7}, 0.5, {4: 7}),
    ],
)
def test_the_most_common_score_is_cut_down(
    numbers: dict[str, int], share: float, after: dict[int, int]
) -> None:
    """It keeps at most its share of what is left; other scores are never touched."""
    config = BuildEft(seed=1, agreement="strict", max_score_share=share)
    rows_in = scored(**numbers)
    found = trees.rebalanced(rows_in, config)
    assert Counter(int(row.score) for row in found) == after
    assert found == [row for row in rows_in if row in found]  # in their order


def test_toy_trees_are_what_the_stages_want() -> None:
    """The built-in trees have instructions of all three kinds and rankings to judge."""
    found, counts = trees.first_turns(copying.trees(0), "en")
    assert counts["trees"] == copying.COPYING_TREES + copying.WRITING_ROWS + copying.JUDGING_TREES
    assert len(found) == counts["trees"] - counts["duplicates"]
    parts = trees.split(found, CONFIG)
    assert {turn.prompt[0] for turn in parts["instructions"]} == {"A", "P", "J"}
    assert {turn.prompt[0] for turn in parts["judged"]} == {"A"}


def test_the_toy_s_judging_prompt_is_the_rubric_s() -> None:
    """What people judged is asked for in the words that the judge stage uses."""
    rubric = rubrics.get("toy-copy-v1")
    assert render(rubric, "Aabcde:", "abc") == copying.judging_prompt("Aabcde:", "abc")


def test_the_toy_holds_out_what_nothing_else_has() -> None:
    """What is measured on the toy's held-out prompts is about new prompts."""
    held_out = {row.prompt for row in copying.held_out(0)}
    assert len(held_out) == copying.HELD_OUT_ROWS
    assert not held_out & {
        row.prompt for row in (*copying.instructions(0), *copying.evaluations(0))
    }
