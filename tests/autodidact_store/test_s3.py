"""What a server can do to a store: refuse, vanish, break off, change credentials."""

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import Manifest
from autodidact_store import (
    AccessDeniedError,
    BucketMissingError,
    ConfigurationError,
    CorruptError,
    StoreUnavailableError,
    check,
    check_create,
    fetch,
    find,
    open_store,
    publish,
)
from autodidact_store.opening import open_sts
from autodidact_store.streams import digest
from autodidact_store.sts import Session
from support.faulty_proxy import FaultyProxy
from support.proxied import through

MIB = 1 << 20


def minted(bucket: Any, statements: list[dict[str, Any]]) -> Session:
    """Temporary credentials with a policy."""
    policy = {"Version": "2012-10-17", "Statement": statements}
    return open_sts(environ=bucket.environ).mint(policy, 900, "store-test")


def scoped(bucket: Any, prefix: str) -> Session:
    """Temporary credentials for the objects below a prefix."""
    return minted(bucket, [allow(["s3:GetObject", "s3:PutObject"], f"{bucket.name}/{prefix}*")])


def stage_policy(bucket: Any, namespace: str, folder: str) -> list[dict[str, Any]]:
    """What a stage needs: to read and list its namespace, to write below its own folder."""
    listing = allow(["s3:ListBucket"], bucket.name)
    # Without the right to list, S3 answers 403 instead of 404 for what does not exist.
    listing["Condition"] = {"StringLike": {"s3:prefix": [f"{namespace}/*"]}}
    return [
        allow(["s3:GetObject"], f"{bucket.name}/{namespace}/*"),
        listing,
        allow(["s3:PutObject", "s3:DeleteObject"], f"{bucket.name}/{folder}*"),
    ]


def allow(actions: list[str], resource: str) -> dict[str, Any]:
    """One statement of a policy."""
    return {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{resource}"]}


def mount(folder: Path, session: Session, expires_at: datetime | None = None) -> None:
    """Writes a Secret into a folder as the kubelet does: all files change in one rename."""
    version = folder / f"..{os.urandom(4).hex()}"
    version.mkdir(parents=True)
    end = {"expiration": expires_at.isoformat()} if expires_at else {}
    for name, text in (session.files() | end).items():
        (version / name).write_text(f"{text}\n")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
    for path in version.iterdir():
        if not (folder / path.name).is_symlink():
            (folder / path.name).symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize(
    "environ", [{"AWS_ACCESS_KEY_ID": "nobody"}, {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}]
)
def test_wrong_credentials_are_denied(bucket: Any, environ: dict[str, str]) -> None:
    """Credentials that the server does not know are an error of their own, without a retry."""
    store = bucket.open(**environ)
    for attempt in (
        lambda: check(store),
        lambda: store.create("a", b""),
        lambda: digest(store.stream("a")),
    ):
        with pytest.raises(AccessDeniedError, match="credentials") as caught:
            attempt()
        assert not caught.value.retry


def test_wrong_bucket_is_missing(bucket: Any, tmp_path: Path) -> None:
    """A bucket that does not exist is named, by reads and writes alike."""
    store = open_store("s3://not-here", bucket.environ)
    (tmp_path / "file").write_bytes(b"")
    for attempt in (
        lambda: check(store),
        lambda: store.create("a", b""),
        lambda: store.read("a", 1),
        lambda: store.upload("a", tmp_path / "file"),
    ):
        with pytest.raises(BucketMissingError, match="not-here"):
            attempt()


def test_server_stopped_and_back(bucket: Any, tmp_path: Path) -> None:
    """Calls that begin while the server is away succeed once it is back; impatient ones fail."""
    store, impatient = bucket.open(), bucket.open(patience_s=0.1)
    store.replace("old", b"abc")
    (tmp_path / "new").write_bytes(bytes(20 * MIB))
    sha256 = hashlib.sha256(b"abc").hexdigest()
    with ThreadPoolExecutor(5) as pool:
        bucket.server.stop()
        try:
            with pytest.raises(StoreUnavailableError):
                impatient.read("old", 3)
            waiting = [
                pool.submit(store.read, "old", 3),
                pool.submit(store.create, "created", b"abc"),
                pool.submit(store.upload, "new", tmp_path / "new"),
                pool.submit(store.download, "old", tmp_path / "old", size=3, sha256=sha256),
                pool.submit(lambda: [entry.key for entry in store.entries("old")]),
            ]
            # The impatient client has failed after them: they have met the outage too.
            with pytest.raises(StoreUnavailableError):
                impatient.create("created", b"impatient")
        finally:
            bucket.server.start()
        results = [future.result() for future in waiting]
    assert results[:2] == [b"abc", True]
    assert results[2][0] == 20 * MIB
    assert results[4] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"abc"


def test_server_restarted_during_an_upload(bucket: Any, tmp_path: Path) -> None:
    """An upload goes on when the server was restarted after its first part."""
    data = os.urandom(MIB) * 40
    (tmp_path / "large").write_bytes(data)
    restarted = threading.Event()

    def restart(_: int) -> None:
        if not restarted.is_set():
            restarted.set()
            bucket.server.stop()
            bucket.server.start()

    store = bucket.open()
    described = store.upload("large", tmp_path / "large", restart)
    assert restarted.is_set()
    assert (
        described == (len(data), hashlib.sha256(data).hexdigest()) == digest(store.stream("large"))
    )


def test_broken_download_goes_on(bucket: Any, proxy: FaultyProxy, tmp_path: Path) -> None:
    """A body whose connection breaks twice arrives whole, and no byte is sent twice."""
    data = os.urandom(6 * MIB)
    bucket.open().replace("large", data)
    proxy.cut_after = [3 * MIB // 2, 2 * MIB]
    told: list[int] = []
    bucket.open(**through(proxy)).download(
        "large",
        tmp_path / "large",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        on_bytes=told.append,
    )
    assert (tmp_path / "large").read_bytes() == data
    assert sum(told) == len(data)
    # Up to one chunk before each break is asked for again, and each answer has its headers.
    assert proxy.answered < len(data) + 2 * MIB + 10_000


def test_download_that_always_breaks_gives_up(
    bucket: Any, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """A body that never arrives is an error after a bounded number of tries."""
    bucket.open().replace("large", bytes(MIB))
    proxy.cut_after = [10_000] * 100
    with pytest.raises(StoreUnavailableError, match="large"):
        bucket.open(**through(proxy)).download(
            "large", tmp_path / "large", size=MIB, sha256="0" * 64
        )
    assert not list(tmp_path.iterdir())


def test_object_replaced_during_a_read_is_noticed(bucket: Any, proxy: FaultyProxy) -> None:
    """A hash never mixes the bytes of two objects that had the same key one after the other."""
    store = bucket.open()
    store.replace("input", bytes(4 * MIB))
    proxy.cut_after = [2 * MIB]
    chunks = bucket.open(**through(proxy)).stream("input")
    next(chunks)
    store.replace("input", b"x" * 4 * MIB)
    with pytest.raises(StoreUnavailableError, match="PreconditionFailed"):
        list(chunks)


def test_lost_answer_to_a_create(bucket: Any, proxy: FaultyProxy) -> None:
    """A create whose answer is lost is True for the bytes it stored, and False for others'."""
    proxy.lose = [b"PUT "]
    store = bucket.open(**through(proxy))
    assert store.create("mine", b"mine") is True
    bucket.open().create("theirs", b"theirs")
    proxy.lose = [b"PUT "]
    assert store.create("theirs", b"mine") is False
    assert not proxy.lose


@pytest.mark.parametrize("beginning", [b"POST ", b"PUT "])
def test_lost_answers_to_an_upload(
    bucket: Any, proxy: FaultyProxy, tmp_path: Path, beginning: bytes
) -> None:
    """An upload is whole although answers to its beginning, parts and completion were lost."""
    data = os.urandom(MIB) * 33
    (tmp_path / "large").write_bytes(data)
    proxy.lose = [beginning, beginning]
    told: list[int] = []
    described = bucket.open(**through(proxy)).upload("large", tmp_path / "large", told.append)
    assert not proxy.lose
    assert described == digest(bucket.open().stream("large"))
    assert sum(told) == len(data)


def test_lost_answer_to_a_completion(bucket: Any, proxy: FaultyProxy, tmp_path: Path) -> None:
    """An upload whose completion was done but not confirmed still succeeds."""
    (tmp_path / "large").write_bytes(bytes(20 * MIB))

    def completion_next(_: int) -> None:
        proxy.lose = [f"POST /{bucket.name}/large?uploadId".encode()]

    described = bucket.open(**through(proxy)).upload("large", tmp_path / "large", completion_next)
    assert not proxy.lose
    assert described == digest(bucket.open().stream("large"))


@pytest.fixture
def scripted() -> Iterator[Any]:
    """A server whose ``statuses`` attribute is what it answers to PUTs, one after the other."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(server.statuses.pop(0))  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("statuses", "created"), [([503, 500, 200], True), ([409, 200], True), ([409, 412], False)]
)
def test_create_asks_again(
    minio_bucket: Any, scripted: Any, statuses: list[int], created: bool
) -> None:
    """An overloaded server and a conflict of concurrent creates are asked again."""
    scripted.statuses = statuses
    store = minio_bucket.open(AWS_ENDPOINT_URL=f"http://127.0.0.1:{scripted.server_port}")
    assert store.create("a", b"abc") is created
    assert not statuses


def test_another_kind_of_server_is_a_wrong_endpoint(minio_bucket: Any, scripted: Any) -> None:
    """A server that is not S3 is refused with the remedy."""
    scripted.statuses = [418]
    store = minio_bucket.open(AWS_ENDPOINT_URL=f"http://127.0.0.1:{scripted.server_port}")
    with pytest.raises(ConfigurationError, match="check the endpoint"):
        store.create("a", b"abc")


def test_rotated_credentials_are_used_at_once(minio_bucket: Any, tmp_path: Path) -> None:
    """An open store signs its next request with what the mounted Secret holds then."""
    secret = tmp_path / "secret"
    mount(secret, scoped(minio_bucket, "team/a/"))
    store = minio_bucket.open(AUTODIDACT_STORE_CREDENTIALS=str(secret))
    assert store.create("team/a/1", b"abc")
    with pytest.raises(AccessDeniedError, match="team/b/1"):
        store.create("team/b/1", b"abc")
    mount(secret, scoped(minio_bucket, "team/b/"))
    assert store.create("team/b/1", b"abc")
    with pytest.raises(AccessDeniedError, match="team/a/1"):
        store.read("team/a/1", 3)


def test_credentials_rotated_during_an_upload(minio_bucket: Any, tmp_path: Path) -> None:
    """An upload goes on under new credentials from the next part on."""
    secret = tmp_path / "secret"
    mount(secret, scoped(minio_bucket, "team/"))
    (tmp_path / "large").write_bytes(bytes(40 * MIB))
    store = minio_bucket.open(AUTODIDACT_STORE_CREDENTIALS=str(secret))
    described = store.upload(
        "team/large", tmp_path / "large", lambda _: mount(secret, scoped(minio_bucket, "team/"))
    )
    assert described == digest(minio_bucket.open().stream("team/large"))


def test_stage_credentials_are_enough(minio_bucket: Any, tmp_path: Path) -> None:
    """A stage that may read and list its namespace and write its own folder can publish."""
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    (source / "rows.jsonl").write_bytes(b"{}")
    secret = tmp_path / "secret"
    mount(
        secret, minted(minio_bucket, stage_policy(minio_bucket, "team", "team/artifacts/judge-1/"))
    )
    store = minio_bucket.open(AUTODIDACT_STORE_CREDENTIALS=str(secret))
    check(store, "team/")
    assert find(store, "team", "judge", "1") is None
    draft = Manifest(kind="judge", key="1", shard=0, shards=1, files=(), inputs={}, config={})
    publish(store, "team", draft, source)
    artifact = find(store, "team", "judge", "1")
    assert artifact is not None
    fetch(store, "team", "judge", "1", artifact.digest, into)
    for attempt in (
        lambda: publish(store, "team", draft.model_copy(update={"key": "2"}), source),
        lambda: store.read("other/a", 1),
        lambda: check(store),
    ):
        with pytest.raises(AccessDeniedError):
            attempt()


def test_sessions_last_as_long_as_asked(minio_bucket: Any) -> None:
    """A session tells when it ends, and shows no secret when it is shown."""
    session = scoped(minio_bucket, "team/")
    left = (session.expires_at - datetime.now(UTC)).total_seconds()
    assert 890 < left <= 900
    assert session.session_token not in repr(session)
    assert session.secret_key not in repr(session)


def test_a_wrong_lender_mints_nothing(minio_bucket: Any) -> None:
    """Keys that the server does not know are refused with what to check."""
    environ = minio_bucket.environ | {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    with pytest.raises(AccessDeniedError, match=r"AssumeRole.*check the operator's store cred"):
        open_sts(environ=environ).mint({}, 900, "store-test")


def test_a_wrong_policy_mints_nothing(minio_bucket: Any) -> None:
    """A policy that is none is refused, and nothing is lent without one."""
    with pytest.raises(ConfigurationError, match="AssumeRole"):
        open_sts(environ=minio_bucket.environ).mint({"Statement": "all"}, 900, "store-test")


def test_a_server_without_sts_says_so(versitygw: Any) -> None:
    """A server that does not lend is named, with the remedy."""
    environ = {
        "AWS_ENDPOINT_URL": versitygw.url,
        "AWS_ACCESS_KEY_ID": versitygw.access_key,
        "AWS_SECRET_ACCESS_KEY": versitygw.secret_key,
    }
    with pytest.raises(ConfigurationError, match="turn STS off"):
        open_sts(environ=environ).mint({}, 900, "store-test")


def test_expired_credentials_are_waited_for(minio_bucket: Any, tmp_path: Path) -> None:
    """A request goes on once the Secret is renewed; without that, another attempt may help."""
    secret, past = tmp_path / "secret", datetime.now(UTC) - timedelta(seconds=1)
    session = scoped(minio_bucket, "team/")
    mount(secret, session, past)
    place = {"AUTODIDACT_STORE_CREDENTIALS": str(secret)}
    with pytest.raises(StoreUnavailableError, match=r"expired.*the operator renews them"):
        minio_bucket.open(patience_s=0.0, **place)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: minio_bucket.open(**place).create("team/a", b"abc"))
        with pytest.raises(TimeoutError):
            waiting.result(0.6)
        mount(secret, session)
        assert waiting.result(30) is True


def test_a_server_that_overwrites_is_refused(bucket: Any, proxy: FaultyProxy) -> None:
    """A server without conditional writes is found out before anything rests on them."""
    store = bucket.open(**through(proxy))
    check_create(store)
    proxy.drop = [b"If-None-Match: *\r\n"]
    with pytest.raises(ConfigurationError, match=r"in spite of If-None-Match.*MinIO"):
        check_create(store)
    assert not list(bucket.open().entries(""))


def test_external_object_of_the_wrong_size_is_not_read(bucket: Any, tmp_path: Path) -> None:
    """An input that was replaced since it was described is refused under its own URI."""
    bucket.open().replace("input", b"abcd")
    location = f"{bucket.uri}/input"
    with pytest.raises(CorruptError, match=location):
        bucket.open().download(location, tmp_path / "x", size=3, sha256="0" * 64)
