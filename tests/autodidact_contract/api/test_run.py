"""What the kinds of run share."""

import pytest
from pydantic import ValidationError

from autodidact_contract.api.run import MUTABLE, RunSpec, Source

TAKEN = (
    "s3://inputs/team/model",
    "hf://org/name@0123456",
    "toy://selfreward/model",
    "file:///home/me/rows.jsonl",
)
REFUSED = (
    "",
    "inputs/model",
    "http://server/model",
    "s3://",
    "s3://inputs/a b",
    "s3://inputs/a?versionId=1",
    "hf:///name",
    "s3://inputs/" + "a" * 1024,
)


def test_locations_have_one_of_four_forms() -> None:
    """What is no location of ours is refused before anybody looks there."""
    assert [Source(uri=uri).uri for uri in TAKEN] == list(TAKEN)
    for uri in REFUSED:
        with pytest.raises(ValidationError):
            Source(uri=uri)


def test_what_may_be_edited_is_there() -> None:
    """Every field that may change after creation is one of a run's."""
    fields = {field.alias for field in RunSpec.model_fields.values()}
    assert fields.issuperset(MUTABLE)
    assert "seed" not in MUTABLE


def test_a_run_has_no_parent_of_itself() -> None:
    """Kinds that know no forks start from nobody's model."""
    assert RunSpec().parent is None
