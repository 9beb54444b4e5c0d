import hashlib
import tracemalloc
from pathlib import Path

import pytest

from autodidact_store import (
    CorruptError,
    Store,
)
from support.stores import ABC

MIB = 1 << 20


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
