"""The sources of imports: folders, S3 and the Hugging Face hub, behind two functions.

What lies in an S3 that every stage can read is not copied: its manifest entries point to it.
Anything else is. Which locations a namespace may name is checked by the operator, before; a Secret
named in the run is mounted at ``AUTODIDACT_SOURCE_CREDENTIALS`` (files ``accessKey``,
``secretKey`` and perhaps ``endpoint`` for S3, ``token`` for the hub) and then used for the source
instead of our own rights.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import unquote

from autodidact_contract.artifacts import File
from autodidact_contract.environment import SOURCE_CREDENTIALS, STORE_CREDENTIALS
from autodidact_store.errors import InvalidNameError, NotFoundError
from autodidact_store.keys import check_key
from autodidact_store.opening import open_store
from autodidact_store.protocol import Store
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo

log = logging.getLogger(__name__)

_HUB = re.compile(r"(?P<data>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+?))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Source(Protocol):
    """A place with files."""

    def names(self) -> list[str]:
        """Returns the names of its files; those in folders below it have slashes."""

    def size(self, name: str) -> int:
        """Returns a file's size in bytes, and refuses what is not a plain file."""

    def copy(self, name: str, folder: Path) -> Path:
        """Copies a file into a folder; the header of weights is checked first."""

    def take(self, name: str, folder: Path, aside: Path) -> File | None:
        """Copies a file into a folder, or returns where it lies if it need not be copied.

        Of a file that is not copied, unless it holds weights, what was read is left in ``aside``.
        """


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A local directory, or one file of it."""

    root: Path
    only: str | None = None

    def names(self) -> list[str]:
        """Returns its plain files; links are files as well, and are refused when taken."""
        if self.only:
            return [self.only]
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.is_symlink() or not path.is_dir()
        )

    def size(self, name: str) -> int:
        """Returns a file's size; a link is refused, for it may lead anywhere."""
        path = self.root / name
        if path.is_symlink() or not path.is_file():
            raise UserError(
                "UnsafeSource",
                f"{model_files.shown(str(path))} is not a plain file; links are not followed: copy it",
            )
        return path.stat().st_size

    def copy(self, name: str, folder: Path) -> Path:
        """Copies a file."""
        path = self.root / name
        _check_room(name, self.size(name), folder)
        if model_files.is_weights(name):
            model_files.check_safetensors(path)
        return Path(shutil.copyfile(path, folder / path.name, follow_symlinks=False))

    def take(self, name: str, folder: Path, aside: Path) -> None:  # noqa: ARG002 - the protocol
        """Copies a file."""
        self.copy(name, folder)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects below a prefix of a bucket, or one object.

    Attributes:
        store: The bucket.
        prefix: Of the keys; what follows it is the name.
        shared: Whether the stages can read them where they are.
        stopping: Whether SIGTERM came.
        sizes: In bytes, by name.
    """

    store: Store
    prefix: str
    shared: bool
    stopping: Callable[[], bool]
    sizes: Mapping[str, int]

    def names(self) -> list[str]:
        """Returns the names of the objects."""
        return sorted(self.sizes)

    def size(self, name: str) -> int:
        """Returns the size that the bucket's listing gives."""
        return self.sizes[name]

    def copy(self, name: str, folder: Path) -> Path:
        """Copies an object."""
        self._copied(name, folder)
        return folder / name.rpartition("/")[2]

    def take(self, name: str, folder: Path, aside: Path) -> File | None:
        """Reads an object once for its digest; copies it only if the stages cannot read it."""
        if not self.shared:
            self._copied(name, folder)
            return None
        if model_files.is_weights(name):
            size, sha256 = self._digest(name, None)
        else:
            size, sha256 = self._copied(name, aside)
        return File(path=name, size=size, sha256=sha256, location=self._location(name))

    def _copied(self, name: str, folder: Path) -> tuple[int, str]:
        _check_room(name, self.sizes[name], folder)
        with (folder / name.rpartition("/")[2]).open("wb") as file:
            return self._digest(name, file.write)

    def _location(self, name: str) -> str:
        return f"{self.store.uri}/{self.prefix}{name}"

    def _digest(self, name: str, write: Callable[[bytes], Any] | None) -> tuple[int, str]:
        """Streams an object once: digest, copy, and the check of a safetensors header."""
        total, running, head = 0, hashlib.sha256(), _Head(name, self.sizes[name])
        with _found(self._location(name)):
            for chunk in self.store.stream(self.prefix + name):
                if self.stopping():
                    raise StoppedError
                total += len(chunk)
                if total > self.sizes[name]:
                    break
                running.update(chunk)
                head.feed(chunk)
                if write:
                    write(chunk)
        head.feed(b"")  # An empty object has no chunk.
        if total != self.sizes[name]:
            raise StageError(
                "SourceChanged",
                f"{self._location(name)} had {self.sizes[name]} bytes when it was listed and has "
                "others now; leave the source alone while it is imported",
            )
        return total, running.hexdigest()


def _check_room(name: str, size: int, folder: Path) -> None:
    """Refuses files for which the disk has no room, such as sparse ones."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            "NoRoom",
            f"{name} has {size} bytes, more than the {free} that are free where it would go; "
            "check that it is the right file, or give the ComputeProfile more ephemeral storage",
        )


class _Head:
    """Checks the header of a safetensors file as soon as it was read."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name.rpartition("/")[2]
        self._size = size
        self._kept = bytearray()
        self._open = model_files.is_weights(self._name)

    def feed(self, chunk: bytes) -> None:
        if not self._open:
            return
        self._kept += chunk
        if len(self._kept) < min(8, self._size):
            return
        length = model_files.header_length(self._name, bytes(self._kept[:8]), self._size)
        if len(self._kept) >= 8 + length:
            model_files.check_header(self._name, bytes(self._kept[8 : 8 + length]), self._size)
            self._open, self._kept = False, bytearray()


def resolve(uri: str, store: Store | None, scratch: Path, stopping: Callable[[], bool]) -> Source:
    """Returns the source that a URI names.

    Args:
        uri: ``s3://bucket/key``, ``s3://bucket/prefix/``, ``file:///path``, a path,
            ``hf://org/name@revision`` or ``hf://datasets/org/name@revision``.
        store: The artifact store.
        scratch: Where the hub's files go first.
        stopping: Whether SIGTERM came.

    Raises:
        UserError: ``SourceNotFound``, ``SourceDenied`` or ``InvalidSource``.
        StageError: ``SourceUnavailable``: another attempt may help.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return _folder(Path(unquote(rest) if separator else uri))
    if scheme == "s3":
        return _objects(rest, store, stopping)
    if scheme == "hf":
        return _hub(uri, rest, scratch)
    raise UserError(
        "InvalidSource", f"{uri}: no such scheme; use s3://, hf://, toy://, file:// or a path"
    )


def _folder(path: Path) -> Folder:
    if path.is_dir():
        return Folder(root=path)
    if path.exists():
        return Folder(root=path.parent, only=path.name)
    raise UserError("SourceNotFound", f"{path} does not exist; correct the uri")


def _objects(rest: str, store: Store | None, stopping: Callable[[], bool]) -> Objects:
    bucket, _, key = rest.partition("/")
    where = f"s3://{rest}"
    environ = _environment()
    home = store.uri if store else ""
    with _found(where):
        source = open_store(f"s3://{bucket}", environ)
        entries = {entry.key: entry.size for entry in source.entries(key)}
    if key in entries:
        prefix, entries = key.rpartition("/")[0], {key: entries[key]}
    else:
        prefix = key.removesuffix("/")
    prefix = f"{prefix}/" if prefix else ""
    sizes = {k.removeprefix(prefix): size for k, size in entries.items() if k.startswith(prefix)}
    # A folder made in a console is an empty object with a slash at its end.
    sizes = {name: size for name, size in sizes.items() if name and not name.endswith("/")}
    if not sizes:
        raise UserError("SourceNotFound", f"{where}: there is nothing; correct the uri")
    for name in sizes:
        _check_name(where, prefix + name)
    shared = home.startswith("s3://") and SOURCE_CREDENTIALS not in os.environ
    return Objects(store=source, prefix=prefix, shared=shared, stopping=stopping, sizes=sizes)


def _check_name(where: str, key: str) -> None:
    """Refuses keys that would be another place in a folder."""
    try:
        check_key(key)
    except InvalidNameError as error:
        raise UserError(
            "UnsafeSource", f"{where}: {error}; rename the object, or import a folder without it"
        ) from error


def _environment() -> dict[str, str]:
    """The environment with the source's own credentials in place of the store's, if there are."""
    environ = dict(os.environ)
    folder = environ.get(SOURCE_CREDENTIALS)
    if folder:
        environ[STORE_CREDENTIALS] = folder
        endpoint = Path(folder) / "endpoint"
        if endpoint.exists():
            environ["AWS_ENDPOINT_URL_S3"] = endpoint.read_text().strip()
    return environ


@contextmanager
def _found(where: str) -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        raise UserError("SourceNotFound", f"{where}: {error}; correct the uri") from error


def _hub(uri: str, rest: str, scratch: Path) -> "Hub":
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow, and seldom used

    match = _HUB.fullmatch(rest)
    if not match:
        raise UserError("InvalidSource", f"{uri} is not hf://org/name@revision")
    kind = "dataset" if match["data"] else "model"
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=_token())
    with _hub_errors(uri):
        info = cast(
            "ModelInfo | DatasetInfo",
            api.repo_info(
                match["repo"], revision=match["revision"], repo_type=kind, files_metadata=True
            ),
        )
    if not _COMMIT.fullmatch(match["revision"] or ""):
        log.warning("%s may change; its commit is %s: name it to repeat this run", uri, info.sha)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    folder = scratch / "hub"
    return Hub(
        uri=uri, api=api, repo=match["repo"], kind=kind, commit=info.sha, sizes=sizes, folder=folder
    )


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A commit of a repository of the Hugging Face hub; only files that are taken are fetched.

    Attributes:
        uri: For errors.
        api: The hub's client.
        repo: ``org/name``.
        kind: ``model`` or ``dataset``.
        commit: Of which the files are; None where the hub does not say.
        sizes: In bytes, by name.
        folder: Where files go first.
    """

    uri: str
    api: "HfApi"
    repo: str
    kind: str
    commit: str | None
    sizes: Mapping[str, int]
    folder: Path

    def names(self) -> list[str]:
        """Returns the names that the hub lists."""
        return sorted(self.sizes)

    def size(self, name: str) -> int:
        """Returns the size that the hub lists."""
        return self.sizes[name]

    def copy(self, name: str, folder: Path) -> Path:
        """Fetches a file."""
        _check_room(name, self.sizes[name], folder)
        with _hub_errors(self.uri):
            self.api.hf_hub_download(
                self.repo,
                name,
                repo_type=self.kind,
                revision=self.commit,
                local_dir=self.folder,
            )
        path = Folder(root=self.folder).copy(name, folder)
        (self.folder / name).unlink()
        return path

    def take(self, name: str, folder: Path, aside: Path) -> None:  # noqa: ARG002 - the protocol
        """Fetches a file."""
        self.copy(name, folder)


@contextmanager
def _hub_errors(uri: str) -> Iterator[None]:
    from huggingface_hub import errors  # noqa: PLC0415 - as above

    try:
        yield
    except errors.LocalEntryNotFoundError as error:  # what an unreachable hub looks like
        raise _unavailable(uri, error) from error
    except (errors.GatedRepoError, errors.DisabledRepoError) as error:
        raise UserError(
            "SourceDenied", f"{uri}: access must be granted on the hub first: {_line(error)}"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UserError(
            "SourceNotFound",
            f"{uri}: no such repository or revision, or it is private; correct the uri, or name a "
            "Secret with a token in the run",
        ) from error
    except errors.HFValidationError as error:
        raise UserError("InvalidSource", f"{uri}: {_line(error)}") from error
    except Exception as error:
        # The hub's client lets its HTTP library's errors through; which one that is has changed.
        raise _unavailable(uri, error) from error


def _unavailable(uri: str, error: Exception) -> StageError:
    return StageError(
        "SourceUnavailable",
        f"{uri}: the hub cannot be reached ({type(error).__name__}: {_line(error)}); check the "
        "cluster's egress, or copy the files to s3:// and import from there",
    )


def _token() -> str | bool:
    path = Path(os.environ.get(SOURCE_CREDENTIALS, "/nonexistent")) / "token"
    # False: never a token that happens to lie on this machine.
    return path.read_text().strip() if path.is_file() else False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
