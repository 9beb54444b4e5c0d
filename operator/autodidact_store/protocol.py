"""The interface of every store.

Objects are bytes under a key such as ``team/artifacts/judge-0a1b/0-of-1/manifest.json``. Calls
block and may be made from any thread; memory does not depend on the size of an object, except for
``create``, ``replace`` and ``read``, which are for small ones.

A *location* is a key of the store, or the URI of an object that lies elsewhere on the same server
or disk (``s3://bucket/key``, ``file:///path``) and was not copied.

Every method may raise StoreUnavailableError, AccessDeniedError, BucketMissingError and
InvalidNameError; see ``errors``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OnBytes = Callable[[int], None]
"""Called with the number of bytes that were just moved, in the thread that moves them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object in a listing; the etag changes when the object does."""

    key: str
    size: int
    etag: str


class Store(Protocol):
    """A flat set of objects."""

    @property
    def uri(self) -> str:
        """``s3://bucket`` or ``file:///directory``, without a slash at the end."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Stores a small object unless there is one already.

        Returns:
            Whether this call stored it; exactly one of several concurrent calls does.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Stores a small object in place of any other of this key, whole or not at all."""
        ...

    def read(self, key: str, limit: int) -> bytes:
        """Returns a small object.

        Raises:
            NotFoundError: There is no such object.
            TooLargeError: It has more than ``limit`` bytes; none was kept.
        """
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yields the objects whose key begins with ``prefix``, by key in byte order."""
        ...

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> tuple[int, str]:
        """Stores a file in place of any other object of this key, whole or not at all.

        The file is read once.

        Returns:
            Size in bytes and sha256 of what was stored.

        Raises:
            OSError: The local file cannot be read.
        """
        ...

    def download(
        self,
        location: str,
        path: Path,
        *,
        size: int,
        sha256: str,
        on_bytes: OnBytes | None = None,
    ) -> None:
        """Copies an object into a local file, which appears only if size and digest are right.

        Raises:
            CorruptError: Size or sha256 differ.
            NotFoundError: There is no such object.
            OSError: The local file cannot be written.
        """
        ...

    def stream(self, location: str) -> Iterator[bytes]:
        """Yields the bytes of an object in order; the caller has to check them.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object; it is no error when there is none."""
        ...
