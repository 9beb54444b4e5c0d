"""How a user says when an answer is right."""

import pytest
from pydantic import ValidationError

from autodidact_contract.api.answers import LATEX
from support.builders import reft


def test_formulas_are_texts_by_our_rules() -> None:
    """Comparing as formulas is for texts alone, and not what the published code does."""
    assert reft(answers={"kind": "text", "latex": True}).answers.latex
    for fields in ({"kind": "number"}, {"kind": "text", "rules": "rcCompat"}):
        with pytest.raises(ValidationError, match=LATEX.message):
            reft(answers={**fields, "latex": True})
