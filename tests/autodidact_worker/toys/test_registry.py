import pytest

from autodidact_worker.runtime.errors import UserError
from support.imports import BringIn


@pytest.mark.parametrize(
    "uri", ["toy://selfreward/heldout", "toy://other/model", "toy://selfreward/"]
)
def test_unknown_toys_name_the_right_one(bring_in: BringIn, uri: str) -> None:
    """The sentence says which URI to use."""
    with pytest.raises(UserError, match="use toy://selfreward/model"):
        bring_in(uri, "model")
