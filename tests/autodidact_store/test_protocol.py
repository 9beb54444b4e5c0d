"""What holds on every store."""

import hashlib
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from autodidact_store import (
    CorruptError,
    Entry,
    InvalidNameError,
    NotFoundError,
    Store,
    TooLargeError,
    check,
)
from autodidact_store.streams import digest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""sha256 of b"abc", from FIPS 180-2."""

NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""sha256 of no bytes."""

MIB = 1 << 20


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


def test_file_of_several_parts(store: Store, tmp_path: Path) -> None:
    """A file larger than two parts of an upload comes back, and every byte is told once."""
    data = bytes(range(256)) * (33 * MIB // 256) + b"end"
    (tmp_path / "large").write_bytes(data)
    up: list[int] = []
    down: list[int] = []
    size, sha256 = store.upload("large", tmp_path / "large", up.append)
    assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    store.download("large", tmp_path / "back", size=size, sha256=sha256, on_bytes=down.append)
    assert (tmp_path / "back").read_bytes() == data
    assert sum(up) == sum(down) == size


def test_memory_does_not_grow_with_the_file(store: Store, tmp_path: Path) -> None:
    """Moving 128 MiB needs at most six parts of 16 MiB up and a few MiB down."""
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(128 * MIB)
    tracemalloc.start()
    try:
        size, sha256 = store.upload("zeros", tmp_path / "zeros")
        assert tracemalloc.get_traced_memory()[1] < 96 * MIB
        tracemalloc.reset_peak()
        store.download("zeros", tmp_path / "back", size=size, sha256=sha256)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_location_outside_of_the_store(backend: Any, store: Store, tmp_path: Path) -> None:
    """An object beside the store is hashed and downloaded where it is, by its URI."""
    location = backend.beside("input.jsonl", b"abc")
    assert digest(store.stream(location)) == (3, ABC)
    store.download(location, tmp_path / "input", size=3, sha256=ABC)
    assert (tmp_path / "input").read_bytes() == b"abc"


def test_flipped_bit_is_found(store: Store, tmp_path: Path) -> None:
    """Bytes with one bit changed are refused with both digests, and no file appears."""
    store.replace("a/weights", b"abb")
    with pytest.raises(CorruptError, match=rf"a/weights.*{ABC}.*") as caught:
        store.download("a/weights", tmp_path / "weights", size=3, sha256=ABC)
    assert hashlib.sha256(b"abb").hexdigest() in caught.value.found
    assert not list(tmp_path.glob("**/*weights*part"))
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("data", [b"ab", b"", b"abcd"])
def test_truncated_file_is_found(store: Store, tmp_path: Path, data: bytes) -> None:
    """A file of another length is refused, and what was there before stays."""
    store.replace("a/weights", data)
    (tmp_path / "weights").write_bytes(b"old")
    with pytest.raises(CorruptError, match=rf"expected 3 bytes, found {len(data)} bytes"):
        store.download("a/weights", tmp_path / "weights", size=3, sha256=ABC)
    assert (tmp_path / "weights").read_bytes() == b"old"


def test_check_accepts_a_store_that_works(store: Store) -> None:
    """A store that exists passes, also when it is empty."""
    check(store)
    check(store, "team/")
