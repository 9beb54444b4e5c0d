"""The stores on which one suite runs, and a bucket for what only a server can do."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from minio import Minio

from autodidact_store import (
    Store,
    open_store,
)
from support.faulty_proxy import FaultyProxy


class Server(Protocol):
    """What the suite uses of an S3 server."""

    endpoint: str
    access_key: str
    secret_key: str

    def start(self) -> None:
        """Start it with the data it had; return when it answers."""

    def stop(self) -> None:
        """Stop it; data and port stay."""


class Bucket:
    """A fresh bucket on a server and the environment that opens it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"store-{secrets.token_hex(6)}"
        self.uri = f"s3://{self.name}"
        self.root = Minio(server.endpoint, server.access_key, server.secret_key, secure=False)
        self.root.make_bucket(self.name)
        self.environ = {
            "AWS_ENDPOINT_URL": f"http://{server.endpoint}",
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }

    def open(self, patience_s: float = 30.0, **environ: str) -> Store:
        """Opens the bucket as its owner, but for what the keywords say."""
        return open_store(self.uri, self.environ | environ, patience_s=patience_s)


class Backend:
    """A store that can be opened again, also from another process, and a place beside it."""

    def __init__(
        self, uri: str, environ: dict[str, str], beside: Callable[[str, bytes], str]
    ) -> None:
        self.uri = uri
        self.environ = environ
        self.beside = beside

    def open(self) -> Store:
        """Opens the store once more."""
        return open_store(self.uri, self.environ)


SERVERS = ["minio", "versitygw"]


@pytest.fixture(params=SERVERS)
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A fresh bucket on each of the servers in turn."""
    return Bucket(request.getfixturevalue(request.param))


@pytest.fixture
def minio_bucket(minio: Server) -> Bucket:
    """A fresh bucket on MinIO, the one server that has STS."""
    return Bucket(minio)


@pytest.fixture(params=["directory", *SERVERS])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each of the stores in turn, empty."""
    if request.param == "directory":
        return _directory(tmp_path)
    return _bucket(Bucket(request.getfixturevalue(request.param)))


@pytest.fixture
def store(backend: Backend) -> Store:
    """Each of the stores in turn, empty and open."""
    return backend.open()


def _directory(folder: Path) -> Backend:
    root, other = folder / "store", folder / "other"
    root.mkdir()
    other.mkdir()

    def beside(name: str, data: bytes) -> str:
        (other / name).write_bytes(data)
        return (other / name).as_uri()

    return Backend(str(root), {}, beside)


def _bucket(bucket: Bucket) -> Backend:
    def beside(name: str, data: bytes) -> str:
        other = Bucket(bucket.server)
        other.open().replace(name, data)
        return f"{other.uri}/{name}"

    return Backend(bucket.uri, bucket.environ, beside)


@pytest.fixture
def proxy(bucket: Any) -> Iterator[FaultyProxy]:
    """A proxy before the bucket's server that loses nothing yet."""
    with FaultyProxy(bucket.server.endpoint) as running:
        yield running
