"""Who decides which of two replies is better."""

from typing import Any

import pytest
from pydantic import ValidationError

from autodidact_contract.api.referee import Endpoint, Referee

SERVER = {"url": "https://judge.example/v1", "model": "judge"}
MODEL = {"uri": "s3://inputs/judge"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"judge": "oracle"},
        {"judge": "fixed", "judgeModel": MODEL},
        {"judge": "endpoint", "endpoint": SERVER},
    ],
)
def test_a_judge_has_what_it_needs(fields: dict[str, Any]) -> None:
    """A model or a server is given for the judges that are one, and for no other."""
    assert Referee.model_validate(fields).judge == fields.get("judge", "first")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"judge": "fixed"}, "judge fixed and judgeModel need each other"),
        ({"judgeModel": MODEL}, "judge fixed and judgeModel need each other"),
        ({"judge": "endpoint"}, "judge endpoint and endpoint need each other"),
        ({"endpoint": SERVER}, "judge endpoint and endpoint need each other"),
    ],
)
def test_a_judge_without_it_is_refused(fields: dict[str, Any], message: str) -> None:
    """The message names both fields."""
    with pytest.raises(ValidationError, match=message):
        Referee.model_validate(fields)


def test_addresses_of_servers() -> None:
    """An address has no place for a user, a query or a fragment, where secrets would be."""
    assert Endpoint.model_validate(SERVER).uri == SERVER["url"]
    for url in (
        "https://me:key@judge/v1",
        "https://judge/v1?key=1",
        "https://judge/#a",
        "judge:80",
    ):
        with pytest.raises(ValidationError):
            Endpoint.model_validate({**SERVER, "url": url})
