import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.runtime.errors import UserError
from support.imports import INSTRUCTION, BringIn

EVALUATION = {**INSTRUCTION, "judgement": "Short and right. Score: 4", "score": 4}


def test_descriptions_beside_rows_are_no_rows(bring_in: BringIn, data: Callable[..., Path]) -> None:
    """A .json file is the data only where there is no .jsonl file."""
    path = data(INSTRUCTION)
    (path.parent / "sub").mkdir()
    shutil.copy(path, path.parent / "sub/train.jsonl")
    (path.parent / "sub/dataset_infos.json").write_text("{}")
    assert bring_in(path.parent / "sub", "instructions")[1].counts["rows"] == 1
    (path.parent / "sub/train.jsonl").rename(path.parent / "sub/dataset_infos.json")
    assert bring_in(path.parent / "sub", "instructions")[1].counts["rows"] == 1


def test_the_only_data_file_of_a_folder_is_found(
    bring_in: BringIn, data: Callable[..., Path]
) -> None:
    """A folder will do if it leaves no choice."""
    path = data(INSTRUCTION)
    (path.parent / "sub").mkdir()
    shutil.move(path, path.parent / "sub/train.jsonl")
    (path.parent / "sub/README.md").write_text("x")
    assert bring_in(path.parent / "sub", "instructions")[1].counts["rows"] == 1
    shutil.copy(path.parent / "sub/train.jsonl", path.parent / "sub/test.jsonl")
    with pytest.raises(UserError, match="there are 2"):
        bring_in(path.parent / "sub", "instructions")


@pytest.mark.parametrize(
    ("content", "lines", "says"),
    [
        ("instructions", [INSTRUCTION, '{"prompt": '], r"data\.jsonl line 2: "),
        ("instructions", [{"prompt": "a"}], r"line 1: response: Field required"),
        ("instructions", [{**INSTRUCTION, "system": "x"}], r"line 1: system: Extra inputs"),
        ("instructions", [{**INSTRUCTION, "prompt": ""}], r"line 1: prompt: "),
        ("instructions", [], "has no rows"),
        ("instructions", ["", ""], "has no rows"),
        ("evaluations", [EVALUATION, {**EVALUATION, "score": 3}], "row 2: score is 3 but"),
        ("evaluations", [{**EVALUATION, "judgement": "Nice."}], "no score that can be read"),
        ("ranked", [{"prompt": "a", "replies": ["x"], "ranks": [1]}], "line 1: replies"),
        (
            "ranked",
            [{"prompt": "a", "replies": ["x", "y", "z"], "ranks": [1, 2]}],
            "3 replies but 2",
        ),
    ],
)
def test_bad_rows_are_named(
    bring_in: BringIn, data: Callable[..., Path], content: str, lines: list[Any], says: str
) -> None:
    """The sentence names file, line and column."""
    with pytest.raises(UserError, match=says) as caught:
        bring_in(data(*lines), content)
    assert caught.value.reason == "InvalidData"


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("evaluations", EVALUATION),
        ("evaluations", {**EVALUATION, "judgement": "yynny=3", "score": 3}),
        ("evaluations", {**EVALUATION, "judgement": "Score: 4.5", "score": 4.5}),
        ("ranked", {"prompt": "a", "replies": ["x", "y", "z"], "ranks": [1, 2, 2]}),
    ],
)
def test_good_rows_pass(
    bring_in: BringIn, data: Callable[..., Path], content: str, row: dict[str, Any]
) -> None:
    """Both rubrics, fractional scores and shared ranks are fine."""
    assert bring_in(data(row), content)[1].counts["rows"] == 1
