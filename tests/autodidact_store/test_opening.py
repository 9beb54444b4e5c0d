"""What a URI and an environment must say, and what a directory store adds."""

from pathlib import Path

import pytest

from autodidact_store import (
    ConfigurationError,
    open_store,
)
from support.stores import SERVER

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


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
