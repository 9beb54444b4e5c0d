import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodidact_contract.base import canonical_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcäß", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_json_is_json(value: Any) -> None:
    """The canonical text is JSON of the same value, and its own canonical text."""
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_is_one_text() -> None:
    """Keys are sorted, nothing is escaped without need, no space is left."""
    assert (
        canonical_json({"b": [1, 2.0], "a": {"ä": None}}) == '{"a":{"ä":null},"b":[1,2.0]}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_canonical_json_has_no_nan(value: Any) -> None:
    """What is no JSON number has no canonical text."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)
