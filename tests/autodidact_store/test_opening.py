"""What a URI and an environment must say, and what a directory store adds."""

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

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
SERVER = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}


@pytest.mark.parametrize(
    "uri",
    ["", "s3://", "s3://ab", "s3://bucket/prefix", "s3://Bucket", "file://relative", "gs://bucket"],
)
def test_bad_uris_are_refused(uri: str) -> None:
    """What is not a store's URI is refused with the forms that are."""
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        open_store(uri, SERVER | KEYS)


@pytest.mark.parametrize(
    ("environ", "remedy"),
    [
        (KEYS, "set AWS_ENDPOINT_URL"),
        (KEYS | {"AWS_ENDPOINT_URL": "minio:9000"}, "http://minio:9000"),
        (KEYS | {"AWS_ENDPOINT_URL": "http://minio:9000/path"}, "path"),
        (SERVER, "AUTODIDACT_STORE_CREDENTIALS"),
        (SERVER | {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY"),
        (SERVER | {"AUTODIDACT_STORE_CREDENTIALS": "/no/such"}, "/no/such/accessKey"),
        (SERVER | KEYS | {"AWS_CA_BUNDLE": "/no/such.pem"}, "/no/such.pem"),
    ],
)
def test_incomplete_environments_are_refused(environ: dict[str, str], remedy: str) -> None:
    """Whatever the environment lacks is named when the store is opened."""
    with pytest.raises(ConfigurationError, match=remedy):
        open_store("s3://bucket", environ)


def test_empty_credential_file_is_refused(tmp_path: Path) -> None:
    """A Secret with an empty key is named before anything is sent."""
    (tmp_path / "accessKey").write_text("\n")
    (tmp_path / "secretKey").write_text("b")
    with pytest.raises(ConfigurationError, match="accessKey is empty"):
        open_store("s3://bucket", SERVER | {"AUTODIDACT_STORE_CREDENTIALS": str(tmp_path)})


def test_specific_endpoint_wins() -> None:
    """AWS_ENDPOINT_URL_S3 stands before AWS_ENDPOINT_URL, as in other tools."""
    environ = SERVER | KEYS | {"AWS_ENDPOINT_URL_S3": "nonsense"}
    with pytest.raises(ConfigurationError, match="nonsense"):
        open_store("s3://bucket", environ)


def test_uri_comes_back(tmp_path: Path) -> None:
    """A store knows its URI, which opens the same store again."""
    assert open_store("s3://bucket/", SERVER | KEYS).uri == "s3://bucket"
    folder = tmp_path / "a b"
    folder.mkdir()
    store = open_store(str(folder), {})
    store.create("x", b"abc")
    assert store.uri == f"file://{tmp_path}/a%20b"
    assert open_store(store.uri, {}).read("x", 3) == b"abc"


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
