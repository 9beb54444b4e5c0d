"""How a user says when an answer is right."""

import pytest
from pydantic import ValidationError

from autodidact_contract.api.answers import AnswerFields


def test_formulas_are_texts_by_our_rules() -> None:
    """Comparing as formulas is for texts alone, and not what the published code does."""
    assert AnswerFields(kind="text", latex=True).latex
    for fields in ({"kind": "number"}, {"kind": "text", "rules": "rcCompat"}):
        with pytest.raises(ValidationError, match=r"answers\.latex needs answers\.kind text"):
            AnswerFields.model_validate({**fields, "latex": True})
