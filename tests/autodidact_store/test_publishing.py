"""What holds for artifacts on every store."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract import artifacts as contract
from autodidact_contract.artifacts import File, Manifest, part_name, shard_parts
from autodidact_store import (
    CorruptError,
    InvalidNameError,
    NotFoundError,
    Store,
    TooLargeError,
    fetch,
    find,
    manifests,
    publish,
    published,
)
from autodidact_store.streams import digest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
KEY = "0123456789abcdef"
PLACE = f"team/artifacts/judge-{KEY}/"


def draft(shard: int = 0, shards: int = 1, **fields: Any) -> Manifest:
    """A manifest without files."""
    defaults: dict[str, Any] = {"kind": "judge", "key": KEY, "inputs": {}, "config": {}}
    return Manifest(shard=shard, shards=shards, files=(), **(defaults | fields))


def folder(path: Path, **files: bytes) -> Path:
    """A directory with files; a double underscore stands for a dot."""
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)
    return path


def publish_rows(store: Store, tmp_path: Path, items: int, shards: int) -> None:
    """Publishes part files whose content depends on the part alone, over some shards."""
    for shard in range(shards):
        names = [part_name("rows", part) for part in shard_parts(items, shard, shards)]
        files = {name.replace(".", "__"): name.encode() for name in names}
        publish(
            store, "team", draft(shard, shards), folder(tmp_path / f"{shard}-{shards}", **files)
        )


def keys(store: Store) -> list[str]:
    """Every key in the store."""
    return [entry.key for entry in store.entries("")]


def test_published_artifact_is_found_and_fetched(store: Store, tmp_path: Path) -> None:
    """An artifact has the digest of its names and bytes, and its files come back."""
    source = folder(tmp_path / "source", b__json=b"", a__txt=b"abc")
    manifest = publish(store, "team", draft(counts={"rows": 2}), source)
    assert [file.path for file in manifest.files] == ["a.txt", "b.json"]
    empty = hashlib.sha256(b"").hexdigest()
    text = f'{{"a.txt":"{ABC}","b.json":"{empty}"}}'
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    assert artifact.digest == hashlib.sha256(text.encode()).hexdigest()
    assert artifact.counts == {"rows": 2}
    assert fetch(store, "team", "judge", KEY, artifact.digest, tmp_path / "into") == artifact
    assert {path.name: path.read_bytes() for path in (tmp_path / "into").iterdir()} == {
        "a.txt": b"abc",
        "b.json": b"",
    }
    assert published(store, "team", "judge", KEY, 0, 1) == manifest


def test_fetched_artifact_knows_what_it_was_made_of(store: Store, tmp_path: Path) -> None:
    """Settings and inputs come with the files; whoever only looks for it is spared them."""
    made = {"inputs": {"model": "ab"}, "config": {"stage": "judge", "votes": 3}}
    manifest = publish(store, "team", draft(**made), folder(tmp_path / "source", a__txt=b"abc"))
    found = find(store, "team", "judge", KEY)
    assert found is not None
    assert (found.inputs, found.config) == ({}, {})
    fetched = fetch(store, "team", "judge", KEY, found.digest, tmp_path / "into")
    assert (fetched.inputs, fetched.config) == (manifest.inputs, manifest.config)


def test_only_selected_files_are_fetched(store: Store, tmp_path: Path) -> None:
    """A selection by name brings those files, and the artifact is still the whole one."""
    publish(store, "team", draft(), folder(tmp_path / "s", a__json=b"1", b__safetensors=b"2"))
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    into = tmp_path / "into"
    told: list[int] = []
    same = fetch(
        store,
        "team",
        "judge",
        KEY,
        artifact.digest,
        into,
        only=lambda name: name.endswith(".json"),
        on_bytes=told.append,
    )
    assert [path.name for path in into.iterdir()] == ["a.json"]
    assert (same, sum(told)) == (artifact, 1)


def test_missing_manifest_is_no_artifact(store: Store, tmp_path: Path) -> None:
    """Files without their manifest do not exist for anyone."""
    publish(store, "team", draft(), folder(tmp_path / "s", a=b"abc"))
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    store.delete(f"{PLACE}0-of-1/manifest.json")
    assert published(store, "team", "judge", KEY, 0, 1) is None
    assert find(store, "team", "judge", KEY) is None
    with pytest.raises(NotFoundError, match=f"judge-{KEY}"):
        fetch(store, "team", "judge", KEY, artifact.digest, tmp_path / "into")


def test_incomplete_shards_are_no_artifact(store: Store, tmp_path: Path) -> None:
    """An artifact exists once its last shard is published."""
    publish(store, "team", draft(1, 2), folder(tmp_path / "1", b=b"2"))
    assert manifests(store, "team", "judge", KEY) is None
    publish(store, "team", draft(0, 2), folder(tmp_path / "0", a=b"1"))
    found = manifests(store, "team", "judge", KEY)
    assert found is not None
    assert [manifest.shard for manifest in found] == [0, 1]


def test_digest_does_not_depend_on_the_shards(store: Store, tmp_path: Path) -> None:
    """The same rows over one, two or five shards are the same artifact."""
    digests = set()
    for shards in (5, 2, 1):
        publish_rows(store, tmp_path, items=300, shards=shards)
        found = find(store, "team", "judge", KEY)
        assert found is not None
        assert found.shards == shards
        digests.add(found.digest)
    assert len(digests) == 1


def test_either_of_two_shard_counts_is_fetched(store: Store, tmp_path: Path) -> None:
    """When two complete sets differ, the smaller one is found and both can be fetched."""
    one = publish(store, "team", draft(), folder(tmp_path / "s", a=b"one"))
    publish(store, "team", draft(0, 2), folder(tmp_path / "s0", a=b"two"))
    two = publish(store, "team", draft(1, 2), folder(tmp_path / "s1", b=b"two"))
    found = find(store, "team", "judge", KEY)
    assert found is not None
    assert found.shards == 1
    assert found.digest == contract.artifact_digest(one.files)
    digest = contract.artifact_digest([two.files[0], two.files[0].model_copy(update={"path": "a"})])
    fetched = fetch(store, "team", "judge", KEY, digest, tmp_path / "into")
    assert fetched.shards == 2
    assert (tmp_path / "into" / "a").read_bytes() == b"two"


def test_another_digest_is_refused(store: Store, tmp_path: Path) -> None:
    """Fetching with a digest that no set has names both digests and brings nothing."""
    publish(store, "team", draft(), folder(tmp_path / "s", a=b"abc"))
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    with pytest.raises(CorruptError, match=f"{'0' * 64}.*{artifact.digest}"):
        fetch(store, "team", "judge", KEY, "0" * 64, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_twins_publish_at_once(store: Store, tmp_path: Path) -> None:
    """Of twins with different bytes one wins, all report it, and only its files stay."""
    sources = [folder(tmp_path / str(i), a=b"twin %d" % i, b=b"b") for i in range(6)]
    barrier = threading.Barrier(6)

    def run(source: Path) -> Manifest:
        barrier.wait()
        return publish(store, "team", draft(image=source.name), source)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, sources))
    assert all(result == results[0] for result in results)
    winner = results[0]
    left = keys(store)
    assert left == sorted([f"{PLACE}0-of-1/manifest.json", *(f.location for f in winner.files)])
    assert store.read(winner.files[0].location, 99) == f"twin {winner.image}".encode()


def test_late_twin_uploads_nothing(store: Store, tmp_path: Path) -> None:
    """Publishing what is published returns the first manifest without moving a byte."""
    first = publish(store, "team", draft(), folder(tmp_path / "1", a=b"first"))
    told: list[int] = []
    second = publish(store, "team", draft(), folder(tmp_path / "2", a=b"2"), on_bytes=told.append)
    assert (second, told) == (first, [])


def test_overtaken_twin_removes_its_files(store: Store, tmp_path: Path) -> None:
    """A twin that is overtaken while it uploads reports the winner and leaves nothing."""
    slow, fast = folder(tmp_path / "slow", a=b"slow"), folder(tmp_path / "fast", a=b"fast")
    winners: list[Manifest] = []

    def overtake(_: int) -> None:
        winners.append(publish(store, "team", draft(), fast))

    assert publish(store, "team", draft(), slow, on_bytes=overtake) == winners[0]
    location = winners[0].files[0].location
    assert keys(store) == sorted([f"{PLACE}0-of-1/manifest.json", location])
    assert store.read(location, 9) == b"fast"


CHILD = """
import os, signal, sys
from pathlib import Path
from autodidact_contract.artifacts import Manifest
from autodidact_store import open_store, publish

store = open_store(sys.argv[1])
type(store).create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
publish(store, "team", Manifest.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
"""


def test_killed_publisher_leaves_nothing_visible(backend: Any, tmp_path: Path) -> None:
    """A publisher killed before its manifest published nothing; the next one cleans up."""
    source = folder(tmp_path / "source", a=b"abc")
    environ = os.environ | backend.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, backend.uri, draft().model_dump_json(by_alias=True), source],
        env=environ,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    store = backend.open()
    assert [key.rpartition("/")[2] for key in keys(store)] == ["a"]
    assert find(store, "team", "judge", KEY) is None
    assert published(store, "team", "judge", KEY, 0, 1) is None
    manifest = publish(store, "team", draft(), source)
    assert keys(store) == sorted([f"{PLACE}0-of-1/manifest.json", manifest.files[0].location])


def test_external_files_are_fetched_from_where_they_are(backend: Any, tmp_path: Path) -> None:
    """A file that was not copied has its place in the digest and is fetched from its URI."""
    store = backend.open()
    location = backend.beside("weights", b"abc")
    size, sha256 = digest(store.stream(location))
    file = File(path="model.safetensors", size=size, sha256=sha256, location=location)
    publish(store, "team", draft(), folder(tmp_path / "s", config__json=b"{}"), [file])
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    fetch(store, "team", "judge", KEY, artifact.digest, tmp_path / "into")
    assert (tmp_path / "into" / "model.safetensors").read_bytes() == b"abc"
    assert not [key for key in keys(store) if key.endswith("model.safetensors")]


def test_corrupt_file_stops_the_fetch(store: Store, tmp_path: Path) -> None:
    """A flipped bit in one file of several is reported, and that file does not appear."""
    source = folder(tmp_path / "s", **{f"f{i}": b"abc" for i in range(6)})
    manifest = publish(store, "team", draft(), source)
    artifact = find(store, "team", "judge", KEY)
    assert artifact is not None
    store.replace(manifest.files[3].location, b"abb")
    with pytest.raises(CorruptError, match="f3"):
        fetch(store, "team", "judge", KEY, artifact.digest, tmp_path / "into")
    assert not (tmp_path / "into" / "f3").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "sample"},
        {"key": "f" * 16},
        {"shard": 1, "shards": 2},
        {"shards": 2},
        {"files": [{"path": "../x", "size": 0, "sha256": ABC, "location": "team/x"}]},
        {"files": [{"path": "x", "size": 0, "sha256": ABC, "location": "other/x"}]},
        {"files": [{"path": "x", "size": 0, "sha256": ABC, "location": "team/../other/x"}]},
        {"files": [{"path": "x", "size": 0, "sha256": ABC, "location": "team/x"}] * 2},
        {"files": "none"},
    ],
)
def test_manifest_must_fit_its_place(store: Store, change: dict[str, Any]) -> None:
    """A manifest that is none, belongs elsewhere or names files it may not is corrupt."""
    data = contract.canonical_json(draft().dump() | change)
    store.create(f"{PLACE}0-of-1/manifest.json", data)
    with pytest.raises(CorruptError, match=r"judge-0123456789abcdef"):
        manifests(store, "team", "judge", KEY)


def test_foreign_folders_are_ignored(store: Store, tmp_path: Path) -> None:
    """Folders that are not shards of this count do not make an artifact."""
    for name in ("1-of-1", "00-of-1", "0-of-01", "0-of-1/x", "0-of-0"):
        store.create(f"{PLACE}{name}/manifest.json", b"")
    assert find(store, "team", "judge", KEY) is None
    publish(store, "team", draft(), folder(tmp_path / "s", a=b"abc"))
    assert find(store, "team", "judge", KEY) is not None


@pytest.mark.parametrize("name", ["manifest.json", ".hidden", "a b", "ä"])
def test_unsuitable_files_are_refused(store: Store, tmp_path: Path, name: str) -> None:
    """A file whose name an artifact may not have stops the publishing before a byte moves."""
    source = folder(tmp_path / "s")
    (source / name).write_bytes(b"")
    with pytest.raises(InvalidNameError, match="file name"):
        publish(store, "team", draft(), source)
    assert not keys(store)


def test_folders_and_links_are_refused(store: Store, tmp_path: Path) -> None:
    """An artifact is flat and holds its own bytes."""
    nested, linked = folder(tmp_path / "nested"), folder(tmp_path / "linked")
    (nested / "sub").mkdir()
    (linked / "link").symlink_to("/etc/hostname")
    for source in (nested, linked):
        with pytest.raises(InvalidNameError, match="plain files"):
            publish(store, "team", draft(), source)


@pytest.mark.parametrize("part", ["", "..", "a/b", "a b", "."])
def test_unsuitable_places_are_refused(store: Store, tmp_path: Path, part: str) -> None:
    """Namespace, kind and key cannot lead outside of their folder."""
    for namespace, kind, key in ((part, "k", "1"), ("n", part, "1"), ("n", "k", part)):
        with pytest.raises(InvalidNameError):
            find(store, namespace, kind, key)
        with pytest.raises(InvalidNameError):
            publish(
                store, namespace, draft(kind=kind, key=key), folder(tmp_path / os.urandom(4).hex())
            )


def test_oversized_manifest_is_refused(store: Store, tmp_path: Path) -> None:
    """A manifest that readers would refuse is not published, and its files are removed."""
    source = folder(tmp_path / "s", a=b"abc")
    with pytest.raises(TooLargeError, match="1048576"):
        publish(store, "team", draft(config={"x": "y" * (1 << 20)}), source)
    assert not keys(store)
    store.create(f"{PLACE}0-of-1/manifest.json", b" " * ((1 << 20) + 1))
    with pytest.raises(TooLargeError, match=r"manifest\.json"):
        find(store, "team", "judge", KEY)
