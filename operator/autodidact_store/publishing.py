"""Publishes artifacts on a store whole and once, finds them by kind and key, and fetches them.

A process that publishes a shard uploads its files into a folder with a random name, and creates the
manifest last. So two processes that publish the same shard never overwrite each other's files, and
the files of a process that was killed are not part of an artifact.
"""

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from autodidact_contract.artifacts import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Artifact,
    File,
    Manifest,
    artifact_digest,
    check_file_name,
    encode,
    fold,
    prefix,
    shard_prefix,
)
from autodidact_store.errors import (
    CorruptError,
    InvalidNameError,
    NotFoundError,
    StoreError,
    TooLargeError,
)
from autodidact_store.keys import check_key
from autodidact_store.protocol import OnBytes, Store

_UPLOADS = 2
_DOWNLOADS = 4
"""Files at a time; memory is bounded by these and the size of a part."""

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHARD = re.compile(r"(0|[1-9][0-9]{0,5})-of-([1-9][0-9]{0,5})/" + re.escape(MANIFEST))

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def publish(
    store: Store,
    namespace: str,
    draft: Manifest,
    directory: Path,
    external: Sequence[File] = (),
    on_bytes: OnBytes | None = None,
) -> Manifest:
    """Publishes one shard, unless it is published already; then the first one stays.

    Args:
        store: Where it goes.
        namespace: The run's.
        draft: The manifest without its files.
        directory: The files: regular ones, no folders, no links.
        external: Files of the artifact whose bytes are elsewhere and are not copied.
        on_bytes: Called with the numbers of bytes that were uploaded.

    Returns:
        The manifest that is in the store: this call's, or the one that was there first.

    Raises:
        InvalidNameError: The name of a file or a part of the key is not allowed.
        TooLargeError: The manifest is larger than its readers allow; use fewer files.
    """
    place = _place(namespace, draft.kind, draft.key, draft.shard, draft.shards)
    paths = _files(directory, external)
    for file in external:
        _check_location(namespace, file)
    earlier = _read(store, namespace, draft.kind, draft.key, draft.shard, draft.shards)
    if earlier is not None:
        return earlier
    folder = f"{place}{secrets.token_hex(8)}/"
    uploaded = _each(lambda path: _upload(store, folder, path, on_bytes), paths, _UPLOADS)
    files = tuple(sorted([*uploaded, *external], key=lambda file: file.path))
    manifest = draft.model_copy(update={"files": files})
    data = encode(manifest)
    if len(data) > MAX_MANIFEST_BYTES:
        _discard(store, [file.location for file in uploaded])
        raise TooLargeError(
            f"{store.uri}/{place}{MANIFEST} would have {len(data)} bytes, more than "
            f"{MAX_MANIFEST_BYTES}; publish fewer files or smaller metrics"
        )
    if store.create(place + MANIFEST, data):
        _sweep(store, place, folder)
        return manifest
    _discard(store, [file.location for file in uploaded])
    return _load(store, namespace, draft.kind, draft.key, draft.shard, draft.shards)


def published(
    store: Store, namespace: str, kind: str, key: str, shard: int, shards: int
) -> Manifest | None:
    """Returns the manifest of one shard, or None where it is not published.

    Raises:
        CorruptError: The manifest cannot be read, or belongs to another key.
    """
    _place(namespace, kind, key, shard, shards)
    return _read(store, namespace, kind, key, shard, shards)


def manifests(store: Store, namespace: str, kind: str, key: str) -> tuple[Manifest, ...] | None:
    """Returns the manifests of all shards, or None while they are not complete.

    If the artifact is complete in several numbers of shards, the smallest number is taken.

    Raises:
        CorruptError: A manifest cannot be read, belongs to another key, or has a file name that
            another one has.
    """
    return next(_sets(store, namespace, kind, key), None)


def find(store: Store, namespace: str, kind: str, key: str) -> Artifact | None:
    """Returns the artifact, or None while it is not complete.

    Raises:
        CorruptError: As for ``manifests``.
    """
    found = manifests(store, namespace, kind, key)
    return fold(found) if found else None


def fetch(
    store: Store,
    namespace: str,
    kind: str,
    key: str,
    digest: str,
    into: Path,
    only: Callable[[str], bool] | None = None,
    on_bytes: OnBytes | None = None,
) -> Artifact:
    """Copies the files of an artifact into a directory and checks the digest of each.

    Args:
        store: Where it is.
        namespace: The run's.
        kind: The artifact's.
        key: The artifact's.
        digest: What the artifact's digest must be.
        into: The directory; it is made if it does not exist.
        only: Says by name which files to copy; None: all of them.
        on_bytes: Called with the numbers of bytes that were downloaded, from several threads.

    Returns:
        The whole artifact, even if only some files were copied, with its inputs and its config.

    Raises:
        NotFoundError: The artifact is not published.
        CorruptError: Its digest is another, or a file is not what its manifest says.
        OSError: The files cannot be written.
    """
    chosen = _set_with(store, namespace, kind, key, digest)
    into.mkdir(parents=True, exist_ok=True)

    def bring(file: File) -> None:
        store.download(
            file.location, into / file.path, size=file.size, sha256=file.sha256, on_bytes=on_bytes
        )

    files = [file for manifest in chosen for file in manifest.files]
    _each(bring, [file for file in files if only is None or only(file.path)], _DOWNLOADS)
    # All shards have the same inputs and config. ``fold`` leaves them out, since the planner
    # remembers many artifacts and does not need them.
    origin = {"inputs": chosen[0].inputs, "config": chosen[0].config}
    return fold(chosen).model_copy(update=origin)


def _place(namespace: str, kind: str, key: str, shard: int, shards: int) -> str:
    """Returns the prefix of a shard; refuses parts that could lead out of it."""
    for part in (namespace, kind, key):
        if not _SEGMENT.fullmatch(part):
            raise InvalidNameError(f"not part of an artifact's key: {part!r}")
    if not 0 <= shard < shards:
        raise InvalidNameError(f"there is no shard {shard} of {shards}; they count from 0")
    return shard_prefix(namespace, kind, key, shard, shards)


def _files(directory: Path, external: Sequence[File]) -> list[Path]:
    """Returns the files to upload, sorted by name; refuses those that an artifact must not have."""
    paths = sorted(directory.iterdir(), key=lambda path: path.name)
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise InvalidNameError(f"an artifact holds plain files only, and this is none: {path}")
    names = [path.name for path in paths] + [file.path for file in external]
    for name in names:
        try:
            check_file_name(name)
        except ValueError as error:
            raise InvalidNameError(f"{directory}: {error}") from error
    if len(set(names)) < len(names):
        raise InvalidNameError(f"{directory}: a file has the name of an external one")
    return paths


def _upload(store: Store, folder: str, path: Path, on_bytes: OnBytes | None) -> File:
    location = folder + path.name
    size, sha256 = store.upload(location, path, on_bytes)
    return File(path=path.name, size=size, sha256=sha256, location=location)


def _discard(store: Store, keys: Sequence[str]) -> None:
    """Deletes files that no manifest names; those that cannot be deleted only take room."""
    with suppress(StoreError):
        for key in keys:
            store.delete(key)


def _sweep(store: Store, place: str, folder: str) -> None:
    """Deletes the files that other processes left beside the published ones.

    A process that is still uploading cannot create its manifest any more.
    """
    with suppress(StoreError):
        left = [entry.key for entry in store.entries(place)]
        _discard(store, [key for key in left if not key.startswith((folder, place + MANIFEST))])


def _sets(store: Store, namespace: str, kind: str, key: str) -> Iterator[tuple[Manifest, ...]]:
    """Yields the complete sets of manifests, the smallest number of shards first."""
    _place(namespace, kind, key, 0, 1)
    begin = prefix(namespace, kind, key)
    shards: dict[int, int] = {}
    for entry in store.entries(begin):
        match = _SHARD.fullmatch(entry.key.removeprefix(begin))
        if match and int(match[1]) < int(match[2]):
            shards[int(match[2])] = shards.get(int(match[2]), 0) + 1
    for count in sorted(count for count, present in shards.items() if present == count):

        def load(shard: int, count: int = count) -> Manifest:
            return _load(store, namespace, kind, key, shard, count)

        found = tuple(_each(load, range(count), _DOWNLOADS))
        _check_names(f"{store.uri}/{begin}", found)
        yield found


def _set_with(
    store: Store, namespace: str, kind: str, key: str, digest: str
) -> tuple[Manifest, ...]:
    where = f"{store.uri}/{prefix(namespace, kind, key)}"
    seen: list[str] = []
    for found in _sets(store, namespace, kind, key):
        seen.append(artifact_digest(file for manifest in found for file in manifest.files))
        if seen[-1] == digest:
            return found
    if not seen:
        raise NotFoundError(f"{where} is not published; run the stage that makes it")
    raise CorruptError(where, f"digest {digest}", " and ".join(seen))


def _check_names(where: str, found: Sequence[Manifest]) -> None:
    names = Counter(file.path for manifest in found for file in manifest.files)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise CorruptError(where, "each file name once", f"{', '.join(twice)} more than once")


def _read(
    store: Store, namespace: str, kind: str, key: str, shard: int, shards: int
) -> Manifest | None:
    try:
        return _load(store, namespace, kind, key, shard, shards)
    except NotFoundError:
        return None


def _load(store: Store, namespace: str, kind: str, key: str, shard: int, shards: int) -> Manifest:
    """Returns a manifest that belongs to its key and whose file names are harmless."""
    location = shard_prefix(namespace, kind, key, shard, shards) + MANIFEST
    where = f"{store.uri}/{location}"
    data = store.read(location, MAX_MANIFEST_BYTES)
    try:  # Both pydantic's errors and ours about names are ValueErrors.
        manifest = Manifest.model_validate_json(data)
        for file in manifest.files:
            check_file_name(file.path)
            _check_location(namespace, file)
    except ValueError as error:
        raise CorruptError(where, "a manifest", str(error)) from error
    expected = (kind, key, shard, shards)
    found = (manifest.kind, manifest.key, manifest.shard, manifest.shards)
    if found != expected:
        raise CorruptError(where, _named(*expected), _named(*found))
    return manifest


def _check_location(namespace: str, file: File) -> None:
    """Refuses a key of another namespace; URIs are checked where they are chosen."""
    if "://" in file.location:
        return
    if not check_key(file.location).startswith(f"{namespace}/"):
        raise InvalidNameError(
            f"file {file.path} lies outside of namespace {namespace}: {file.location}"
        )


def _named(kind: str, key: str, shard: int, shards: int) -> str:
    return f"the manifest of {kind}-{key} shard {shard} of {shards}"


def _each(work: Callable[[_In], _Out], items: Sequence[_In], threads: int) -> list[_Out]:
    """Returns the results in order; after the first error no further work is begun."""
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
