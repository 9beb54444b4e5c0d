"""Which keys mean the same in a bucket and in a directory."""

import contextlib

import pytest

from autodidact_store.errors import ConfigurationError, InvalidNameError
from autodidact_store.keys import (
    MAX_KEY_BYTES,
    MAX_SEGMENT_BYTES,
    check_key,
    check_prefix,
    split_uri,
)

REFUSED = {
    "empty": "",
    "absolute": "/a",
    "empty segment": "a//b",
    "here": "a/./b",
    "up": "a/../b",
    "backslash": "a\\b",
    "control character": "a\nb",
    "delete": "a\x7fb",
    "half a character": "a\ud800",
    "long segment": "a" * (MAX_SEGMENT_BYTES + 1),
    "long segment in bytes": "é" * (MAX_SEGMENT_BYTES // 2 + 1),
    "long": "/".join(["abc"] * (MAX_KEY_BYTES // 4 + 1)),
}


def test_keys_that_no_store_may_have_are_refused() -> None:
    """Each bad key is refused as a key, and as the beginning of others."""
    taken = []
    for name, key in REFUSED.items():
        for check, value in ((check_key, key), (check_prefix, f"{key}/")):
            with contextlib.suppress(InvalidNameError):
                check(value)
                taken.append((name, check.__name__))
    assert taken == []


@pytest.mark.parametrize("key", ["a", "a/b.c", "ä/€", "a" * MAX_SEGMENT_BYTES, "..a/b.."])
def test_usual_keys_come_back(key: str) -> None:
    """A key that is fine is returned as it was; so is every prefix, the empty one too."""
    assert check_key(key) == key
    assert check_prefix(f"{key}/") == f"{key}/"
    assert check_prefix("") == ""


def test_an_object_of_a_server_is_named_by_its_uri() -> None:
    """Bucket and key are told apart at the first slash, and anything else is refused."""
    assert split_uri("s3://inputs/team/model/config.json") == ("inputs", "team/model/config.json")
    for uri in ("s3://inputs", "s3://inputs/", "s3:///a", "file:///a/b", "inputs/a"):
        with pytest.raises(ConfigurationError, match="write s3://bucket/key"):
            split_uri(uri)
    with pytest.raises(InvalidNameError):
        split_uri("s3://inputs/../a")
