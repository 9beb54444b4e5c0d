from pathlib import Path

import pytest

from autodidact_store import (
    BucketMissingError,
    ConfigurationError,
    InvalidNameError,
    NotFoundError,
    check,
    open_store,
)
from autodidact_store.streams import digest


def test_missing_directory_is_a_missing_bucket(tmp_path: Path) -> None:
    """A directory that does not exist is never made by a write: it may not be mounted."""
    store = open_store(str(tmp_path / "none"), {})
    for attempt in (
        lambda: check(store),
        lambda: store.create("a", b""),
        lambda: store.replace("a", b""),
        lambda: store.read("a", 1),
        lambda: store.delete("a"),
    ):
        with pytest.raises(BucketMissingError, match="none"):
            attempt()
    assert not (tmp_path / "none").exists()


def test_folder_is_not_an_object(tmp_path: Path) -> None:
    """A directory cannot hold an object and a folder of one name, and says so."""
    store = open_store(str(tmp_path), {})
    store.create("a/b", b"")
    with pytest.raises(NotFoundError):
        store.read("a", 1)
    with pytest.raises(NotFoundError):
        store.read("a/b/c", 1)
    for attempt in (lambda: store.create("a/b/c", b""), lambda: store.replace("a", b"")):
        with pytest.raises(InvalidNameError, match="same name"):
            attempt()
    assert [entry.key for entry in store.entries("")] == ["a/b"]


def test_unfinished_files_are_not_objects(tmp_path: Path) -> None:
    """What a killed writer left aside is not listed and has no key."""
    store = open_store(str(tmp_path), {})
    store.create("a", b"")
    (tmp_path / ".autodidact-tmp" / "left").write_bytes(b"half")
    assert [entry.key for entry in store.entries("")] == ["a"]
    with pytest.raises(InvalidNameError, match="own"):
        store.read(".autodidact-tmp/left", 9)


def test_directory_cannot_read_from_a_server(tmp_path: Path) -> None:
    """A location on a server is refused by a directory store with the remedy."""
    with pytest.raises(ConfigurationError, match="S3 server"):
        digest(open_store(str(tmp_path), {}).stream("s3://inputs/model"))
