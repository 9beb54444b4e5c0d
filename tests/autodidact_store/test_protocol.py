"""What holds on every store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from autodidact_store import (
    Entry,
    InvalidNameError,
    NotFoundError,
    Store,
    TooLargeError,
    check,
)
from autodidact_store.streams import digest
from support.stores import ABC

NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""sha256 of no bytes."""


def test_created_object_is_read_back(store: Store) -> None:
    """What is created is what is read."""
    assert store.create("team/a.json", b"abc")
    assert store.read("team/a.json", 3) == b"abc"


def test_second_create_changes_nothing(store: Store) -> None:
    """A create of what exists returns False and leaves the first bytes."""
    store.create("a", b"first")
    assert store.create("a", b"second") is False
    assert store.create("a", b"first") is False
    assert store.read("a", 10) == b"first"


def test_one_of_concurrent_twins_wins(store: Store) -> None:
    """Of sixteen creates at once exactly one returns True, and its bytes stay."""
    barrier = threading.Barrier(16)

    def create(number: int) -> bool:
        barrier.wait()
        return store.create("race/manifest.json", b"twin %d" % number)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.read("race/manifest.json", 10) == b"twin %d" % won.index(True)


def test_replace_overwrites(store: Store) -> None:
    """A replace stores bytes whether or not there were any."""
    store.replace("runs/run.json", b"one")
    store.replace("runs/run.json", b"two")
    assert store.read("runs/run.json", 3) == b"two"


def test_read_limit(store: Store) -> None:
    """An object of the limit's size is read, a larger one refused by name."""
    store.create("folder/large", b"12345")
    assert store.read("folder/large", 5) == b"12345"
    with pytest.raises(TooLargeError, match=r"folder/large.* 4"):
        store.read("folder/large", 4)


def test_missing_objects_are_not_found(store: Store, tmp_path: Path) -> None:
    """Reading, downloading and hashing what is not there name it."""
    for attempt in (
        lambda: store.read("no/such", 9),
        lambda: digest(store.stream("no/such")),
        lambda: store.download("no/such", tmp_path / "x", size=0, sha256=NOTHING),
    ):
        with pytest.raises(NotFoundError, match="no/such"):
            attempt()


def test_delete(store: Store) -> None:
    """A deleted object is gone, and deleting it again is no error."""
    store.create("a/b", b"")
    store.delete("a/b")
    store.delete("a/b")
    assert not list(store.entries(""))


def test_listing_is_in_byte_order(store: Store) -> None:
    """A listing goes through folders, in the order of the keys' bytes."""
    keys = ["x/Z", "x/a-1", "x/a.1", "x/a/1", "x/a/2/3", "x/é", "y"]
    for key in reversed(keys):
        store.create(key, b"abc")
    assert [entry.key for entry in store.entries("")] == keys
    assert [entry.key for entry in store.entries("x/a/")] == ["x/a/1", "x/a/2/3"]
    assert [entry.key for entry in store.entries("x/a")] == keys[1:5]
    assert not list(store.entries("none/"))


def test_entries_tell_size_and_change(store: Store) -> None:
    """An entry has the object's size, and another etag once the object is another."""
    store.create("a", b"abc")
    (before,) = store.entries("")
    store.replace("a", b"abd")
    (after,) = store.entries("")
    assert before == Entry(key="a", size=3, etag=before.etag)
    assert after.etag != before.etag


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "..", "a\n", "a\0b", "a\\b", "k" * 256],
)
def test_dangerous_keys_are_refused(store: Store, tmp_path: Path, key: str) -> None:
    """No operation accepts a key that leaves the store or means different things to stores."""
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    for attempt in (
        lambda: store.create(key, b""),
        lambda: store.replace(key, b""),
        lambda: store.read(key, 1),
        lambda: store.upload(key, file),
        lambda: store.download(key, tmp_path / "x", size=3, sha256=ABC),
        lambda: digest(store.stream(key)),
        lambda: store.delete(key),
    ):
        with pytest.raises(InvalidNameError):
            attempt()


@pytest.mark.parametrize(
    ("name", "data", "sha256"),
    [("empty", b"", NOTHING), ("model.v1.0.tar.gz", b"abc", ABC), (".hidden", b"abc", ABC)],
)
def test_files_come_back(store: Store, tmp_path: Path, name: str, data: bytes, sha256: str) -> None:
    """A file, also an empty one, is uploaded with its digest, hashed in place and downloaded."""
    (tmp_path / "file").write_bytes(data)
    assert store.upload(f"a/{name}", tmp_path / "file") == (len(data), sha256)
    assert digest(store.stream(f"a/{name}")) == (len(data), sha256)
    store.download(f"a/{name}", tmp_path / name, size=len(data), sha256=sha256)
    assert (tmp_path / name).read_bytes() == data


def test_location_outside_of_the_store(backend: Any, store: Store, tmp_path: Path) -> None:
    """An object beside the store is hashed and downloaded where it is, by its URI."""
    location = backend.beside("input.jsonl", b"abc")
    assert digest(store.stream(location)) == (3, ABC)
    store.download(location, tmp_path / "input", size=3, sha256=ABC)
    assert (tmp_path / "input").read_bytes() == b"abc"


def test_check_accepts_a_store_that_works(store: Store) -> None:
    """A store that exists passes, also when it is empty."""
    check(store)
    check(store, "team/")
