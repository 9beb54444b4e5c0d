import hashlib

import pytest

from autodidact_worker.judging import rubrics
from autodidact_worker.runtime.errors import UserError


def test_an_unknown_rubric_names_the_known_ones() -> None:
    """A wrong rubric is the user's to fix and the message helps."""
    with pytest.raises(UserError, match="additive-v1, toy-copy-v1"):
        rubrics.get("additive-v0")


PINNED = {
    "additive-v1/judge.txt": "a2df93ed495c280a",
    "additive-v1/meta.txt": "19705747c65b5dec",
    "additive-v1/pairwise.txt": "4d083248e700e8b5",
    "additive-v1/prompts.txt": "abdecdbb3f1d6d1d",
    "toy-copy-v1/judge.txt": "c6f0470c9157113b",
    "toy-copy-v1/meta.txt": "ff2e901976db240a",
    "toy-copy-v1/prompts.txt": "c52222de2c59d1f6",
}


def test_templates_never_change_under_the_same_name() -> None:
    """A rubric's name is in stage keys, so other wording needs another name."""
    found = {
        str(path.relative_to(rubrics.TEXTS)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(rubrics.TEXTS.rglob("*.txt"))
    }
    assert found == PINNED
