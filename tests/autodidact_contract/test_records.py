"""Rows of the artifacts."""

import pytest
from pydantic import ValidationError

from autodidact_contract.records import Instruction, RankedReplies


def test_every_reply_has_one_rank() -> None:
    """Ties may share a rank; a missing or an extra one is refused with both numbers."""
    assert RankedReplies(prompt="a", replies=("b", "c"), ranks=(1, 1)).ranks == (1, 1)
    for ranks in ((1, 2, 3), (1, 2, 2, 4)):
        with pytest.raises(ValidationError, match=f"2 replies but {len(ranks)} ranks"):
            RankedReplies(prompt="a", replies=("b", "c"), ranks=ranks)


def test_texts_are_kept_as_they_are() -> None:
    """Spaces, line ends and characters beyond the basic plane come back from JSON unchanged."""
    row = Instruction(prompt=" a\r\n\t", response="\u2028\U0001d504 ")
    assert Instruction.model_validate_json(row.model_dump_json()) == row
