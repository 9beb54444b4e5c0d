"""A store in a directory: for one machine, for tests, or on a shared file system with hard links."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from autodidact_store.errors import (
    AccessDeniedError,
    BucketMissingError,
    ConfigurationError,
    InvalidNameError,
    NotFoundError,
    StoreUnavailableError,
    TooLargeError,
)
from autodidact_store.keys import check_key, check_prefix
from autodidact_store.protocol import Entry, OnBytes
from autodidact_store.streams import HashingReader, check_size, save, sync

SCRATCH = ".autodidact-tmp"
"""Folder of files that are still being written; no key may begin with it."""


class DirectoryStore:
    """Objects as files below a directory that must exist.

    A file is first written whole in another folder and forced to disk. Then it is linked (create)
    or renamed (replace) into its place. So neither a reader nor a power cut sees half a file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def uri(self) -> str:
        """``file:///directory``."""
        return self._root.as_uri()

    def create(self, key: str, data: bytes) -> bool:
        """Stores a small object unless there is one already."""
        path = self._path(key)
        with self._aside(key, [data]) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        _sync_folder(path.parent)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Stores a small object in place of any other."""
        with self._aside(key, [data]) as temporary:
            temporary.replace(self._path(key))
        _sync_folder(self._path(key).parent)

    def read(self, key: str, limit: int) -> bytes:
        """Returns a small object."""
        with self._translated(key), self._path(key).open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise TooLargeError(f"{self.uri}/{key} has more than {limit} bytes; it was not read")
        return data

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yields the objects whose key begins with ``prefix``, by key in byte order."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with self._translated(prefix):
            self._check_root()
            found = [e for e in self._walk(self._root / folder) if e.key.startswith(prefix)]
        yield from sorted(found, key=lambda entry: entry.key.encode())

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> tuple[int, str]:
        """Stores a file in place of any other."""
        with path.open("rb") as file:
            reader = HashingReader(file, on_bytes)
            with self._aside(key, reader) as temporary:
                temporary.replace(self._path(key))
        _sync_folder(self._path(key).parent)
        return reader.size, reader.sha256

    def download(
        self,
        location: str,
        path: Path,
        *,
        size: int,
        sha256: str,
        on_bytes: OnBytes | None = None,
    ) -> None:
        """Copies an object into a local file, which appears only if size and digest are right."""
        chunks = self._chunks(location, expected=size)
        save(chunks, path, where=location, size=size, sha256=sha256, on_bytes=on_bytes)

    def stream(self, location: str) -> Iterator[bytes]:
        """Yields the bytes of an object in order; the caller has to check them."""
        return self._chunks(location)

    def delete(self, key: str) -> None:
        """Removes an object; it is no error when there is none."""
        with self._translated(key):
            self._check_root()
            try:
                self._path(key).unlink(missing_ok=True)
            except NotADirectoryError:
                return

    def _path(self, key: str) -> Path:
        if check_key(key).split("/")[0] == SCRATCH:
            raise InvalidNameError(f"the folder {SCRATCH} is the store's own: {key!r}")
        return self._root / key

    def _locate(self, location: str) -> Path:
        if location.startswith("file:///"):
            return Path(unquote(location.removeprefix("file://")))
        if "://" in location:
            raise ConfigurationError(
                f"{location} cannot be read through the directory store {self.uri}; "
                "use a store on the S3 server that has it, or a file:/// URI"
            )
        return self._path(location)

    def _chunks(self, location: str, expected: int | None = None) -> Iterator[bytes]:
        with self._translated(location):
            file = self._locate(location).open("rb")
        with file:
            if expected is not None:
                check_size(location, expected, os.fstat(file.fileno()).st_size)
            yield from HashingReader(file)

    def _walk(self, folder: Path) -> Iterator[Entry]:
        for parent, folders, names in os.walk(folder):
            if parent == str(self._root) and SCRATCH in folders:
                folders.remove(SCRATCH)
            for name in names:
                path = Path(parent, name)
                try:
                    stat = path.stat()
                except FileNotFoundError:  # Deleted since the folder was read.
                    continue
                yield Entry(
                    key=path.relative_to(self._root).as_posix(),
                    size=stat.st_size,
                    etag=f"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}",
                )

    @contextmanager
    def _aside(self, key: str, chunks: Iterable[bytes]) -> Iterator[Path]:
        """Yields a complete temporary file on the disk of the store; it is removed at the end."""
        path = self._path(key)
        temporary = self._root / SCRATCH / secrets.token_hex(16)
        with self._translated(key):
            self._check_root()
            try:
                temporary.parent.mkdir(exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("xb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    sync(file)
                yield temporary
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise InvalidNameError(
                    f"{self.uri}/{key}: here, a folder and an object cannot have the same name"
                ) from error
            finally:
                temporary.unlink(missing_ok=True)

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise BucketMissingError(f"the store's directory does not exist: {self._root}; make it")

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turns errors of the store's files into the store's errors."""
        where = key if "://" in key else f"{self.uri}/{key}"
        try:
            yield
        except PermissionError as error:
            raise AccessDeniedError(f"{where}: {error.strerror}; change its permissions") from error
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            self._check_root()
            raise NotFoundError(f"{where} does not exist") from error
        except OSError as error:
            raise StoreUnavailableError(f"{where}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
