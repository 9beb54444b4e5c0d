"""Hashes bytes as they are read, and writes files that appear only if their digest is right."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from autodidact_store.errors import CorruptError
from autodidact_store.protocol import OnBytes

CHUNK = 1 << 20
"""Bytes moved at a time."""


class HashingReader:
    """Reads a file and hashes the bytes that it returns.

    Attributes:
        size: Bytes returned since the beginning or the last ``rewind``.
    """

    def __init__(self, file: BinaryIO, on_bytes: OnBytes | None = None) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._hash = hashlib.sha256()
        self._told = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """Digest of the bytes returned so far."""
        return self._hash.hexdigest()

    def read(self, amount: int) -> bytes:
        """Returns the next bytes, fewer than ``amount`` only at the end of the file."""
        data = self._file.read(amount)
        self._hash.update(data)
        self.size += len(data)
        # Bytes that are read again after a failed try are not reported again.
        if self._on_bytes is not None and self.size > self._told:
            self._on_bytes(self.size - self._told)
            self._told = self.size
        return data

    def rewind(self) -> None:
        """Starts from the beginning of the file."""
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(CHUNK):
            yield data


def digest(chunks: Iterable[bytes]) -> tuple[int, str]:
    """Returns number and sha256 of the bytes."""
    total, running = 0, hashlib.sha256()
    for chunk in chunks:
        running.update(chunk)
        total += len(chunk)
    return total, running.hexdigest()


def save(
    chunks: Iterable[bytes],
    path: Path,
    *,
    where: str,
    size: int,
    sha256: str,
    on_bytes: OnBytes | None = None,
) -> None:
    """Writes a file under a temporary name and renames it once size and sha256 are right.

    Raises:
        CorruptError: They are wrong; the file is then not there, or as it was before.
        OSError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            found = digest(_written(chunks, file, on_bytes))
        if found != (size, sha256):
            raise CorruptError(where, shown(size, sha256), shown(*found))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_size(where: str, expected: int, found: int) -> None:
    """Refuses an object of the wrong size before a byte of it is read.

    Raises:
        CorruptError: The sizes differ.
    """
    if expected != found:
        raise CorruptError(where, f"{expected} bytes", f"{found} bytes")


def shown(size: int, sha256: str) -> str:
    """Returns size and digest as the text of an error message."""
    return f"{size} bytes with sha256 {sha256}"


def sync(file: BinaryIO) -> None:
    """Returns when the file's bytes have reached the disk."""
    file.flush()
    os.fsync(file.fileno())


def _written(chunks: Iterable[bytes], file: BinaryIO, on_bytes: OnBytes | None) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        if on_bytes is not None:
            on_bytes(len(chunk))
        yield chunk
