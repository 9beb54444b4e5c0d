"""The import stage: what it takes from where, and what it refuses with which sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autodidact_worker.intake import model_files
from support.imports import INSTRUCTION, BringIn


@pytest.mark.parametrize(
    ("content", "name", "rows"),
    [
        ("instructions", "instructions", 3550),
        ("evaluations", "evaluations", 1630),
        ("ranked", "heldout", 256),
    ],
)
def test_toy_data_is_a_function_of_the_seed(
    bring_in: BringIn, content: str, name: str, rows: int
) -> None:
    """The same bytes for the same seed, others for another."""
    files = []
    for seed in (0, 0, 1):
        out, output = bring_in(f"toy://selfreward/{name}", content, seed)
        assert output.counts["rows"] == rows
        files.append((out / "rows.jsonl").read_bytes())
    assert files[0] == files[1] != files[2]


def test_toy_model_is_a_safe_model(bring_in: BringIn) -> None:
    """It is a Hugging Face directory like any other."""
    out, output = bring_in("toy://selfreward/model", "model")
    model_files.check(out)
    assert output.counts["files"] == 5


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_data_keeps_its_bytes(bring_in: BringIn, data: Callable[..., Path], scheme: str) -> None:
    """Blank lines and key order stay as they were; rows and duplicates are counted."""
    path = data(INSTRUCTION, "", {"response": "a", "prompt": "b"}, INSTRUCTION)
    out, output = bring_in(f"{scheme}{path}", "instructions")
    assert (out / "rows.jsonl").read_bytes() == path.read_bytes()
    assert output.counts == {"rows": 3, "duplicates": 1}
