"""A store in a bucket of MinIO or of any S3 server with conditional PUT.

minio-py has no public conditional write. So ``create`` only has it presign a URL, and sends
``If-None-Match: *`` itself. Objects are read in ranges, so that after a broken connection only the
rest is read again.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from autodidact_store.errors import (
    AccessDeniedError,
    BucketMissingError,
    ConfigurationError,
    InvalidNameError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
    TooLargeError,
)
from autodidact_store.keys import check_key, check_prefix, split_uri
from autodidact_store.pool import (
    PATIENCE_S,
    RETRIED,
    Patience,
    PatientPool,
    refuse_certificate,
    unavailable,
)
from autodidact_store.protocol import Entry, OnBytes
from autodidact_store.streams import CHUNK, HashingReader, check_size, save

PART = 16 << 20
"""Bytes of one part of an upload; larger only for objects of more than 156 GiB."""

_MAX_PARTS = 10_000
"""S3's limit."""

_PARALLEL_PARTS = 2
"""Parts of one upload at a time; minio-py has up to twice as many and one more in memory."""

_TRIES = 8
"""How often a download is continued after its connection broke, and an upload begun again."""

_PRESIGNED_FOR = timedelta(minutes=15)

_DENIED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "XAdminUserNotFound",  # What versitygw calls an access key that it does not know.
    }
)
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchVersion", "ResourceNotFound"})
_WRONG = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "BadRequest",
        "InvalidBucketName",
        "MethodNotAllowed",
        "NotImplemented",
        "PermanentRedirect",
        "Redirect",
    }
)
_AGAIN = frozenset({"IncompleteBody", "NoSuchUpload", "RequestTimeout"})
"""Errors after which an upload is begun again: its parts are gone, or did not arrive."""


class S3Store:
    """The objects of one bucket."""

    def __init__(
        self,
        bucket: str,
        endpoint: str,
        credentials: Provider,
        *,
        region: str = "us-east-1",
        secure: bool = True,
        certificates: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Opens a bucket without a request to the server.

        Args:
            bucket: Its name.
            endpoint: Host, and port where it is not the scheme's.
            credentials: Asked before every request.
            region: It is never looked up, because narrow credentials do not allow that.
            secure: Whether to speak https.
            certificates: File of trusted authorities instead of the system's.
            patience_s: How long the server may be away before a call gives up.
        """
        self._bucket = bucket
        self._http = PatientPool(patience_s, str(certificates) if certificates else None)
        self._client = Minio(
            endpoint,
            secure=secure,
            region=region,
            credentials=credentials,
            http_client=self._http,
        )

    @property
    def uri(self) -> str:
        """``s3://bucket``."""
        return f"s3://{self._bucket}"

    def create(self, key: str, data: bytes) -> bool:
        """Stores a small object unless there is one already.

        If the answer to a PUT was lost, an object with the same bytes counts as stored by it. A
        caller that must know which of several callers was first puts something of its own into the
        bytes.
        """
        where = self._where(key)
        patience = Patience(self._http.patience_s)
        unsure = False
        while True:
            try:
                answer = self._put_new(key, data)
            except HTTPError as error:
                refuse_certificate(error, where)
                unsure, reason = True, str(error)
            else:
                if answer.status == 200:
                    return True
                if answer.status == 412:
                    return unsure and self._holds(key, data)
                if answer.status not in RETRIED | {409}:
                    raise _refusal(answer, where)
                unsure |= answer.status != 409
                reason = f"HTTP {answer.status}"
            if not patience.wait():
                raise unavailable(where, reason)

    def replace(self, key: str, data: bytes) -> None:
        """Stores a small object in place of any other."""
        with _translated(self._where(key)):
            self._client.put_object(self._bucket, check_key(key), io.BytesIO(data), len(data))

    def read(self, key: str, limit: int) -> bytes:
        """Returns a small object."""

        def check(size: int) -> None:
            if size > limit:
                raise TooLargeError(
                    f"{self._where(key)} has {size} bytes, more than {limit}; it was not read"
                )

        return b"".join(self._chunks(key, check))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yields the objects whose key begins with ``prefix``, by key in byte order."""
        with _translated(self._where(prefix)):
            for found in self._client.list_objects(
                self._bucket, prefix=check_prefix(prefix), recursive=True
            ):
                yield Entry(key=found.object_name, size=found.size, etag=found.etag or "")

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> tuple[int, str]:
        """Stores a file in place of any other."""
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            reader = HashingReader(file, on_bytes)
            with _translated(self._where(key)):
                self._put(check_key(key), reader, size)
        return size, reader.sha256

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
        where = self._where(location)
        chunks = self._chunks(location, lambda found: check_size(where, size, found))
        save(chunks, path, where=where, size=size, sha256=sha256, on_bytes=on_bytes)

    def stream(self, location: str) -> Iterator[bytes]:
        """Yields the bytes of an object in order; the caller has to check them."""
        return self._chunks(location)

    def delete(self, key: str) -> None:
        """Removes an object; it is no error when there is none."""
        with _translated(self._where(key)):
            self._client.remove_object(self._bucket, check_key(key))

    def _where(self, location: str) -> str:
        return location if "://" in location else f"{self.uri}/{location}"

    def _put_new(self, key: str, data: bytes) -> urllib3.BaseHTTPResponse:
        url = self._client.get_presigned_url("PUT", self._bucket, check_key(key), _PRESIGNED_FOR)
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        headers = {"If-None-Match": "*", "Content-MD5": base64.b64encode(md5).decode()}
        return self._http.once("PUT", url, body=data, headers=headers)

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.read(key, len(data)) == data
        except TooLargeError:
            return False

    def _put(self, key: str, reader: HashingReader, size: int) -> None:
        part = max(PART, -(-size // _MAX_PARTS))
        for left in reversed(range(_TRIES)):
            reader.rewind()
            try:
                written = self._client.put_object(
                    self._bucket,
                    key,
                    cast("BinaryIO", reader),
                    size,
                    part_size=part,
                    num_parallel_uploads=_PARALLEL_PARTS,
                )
            except S3Error as error:
                if error.code not in _AGAIN or not left:
                    raise
            else:
                # S3 may answer with status 200 and an error; such an answer has no etag.
                if written.etag:
                    return
        raise unavailable(self._where(key), "the upload was not completed")

    def _chunks(self, location: str, check: Callable[[int], None] | None = None) -> Iterator[bytes]:
        """Yields the bytes of an object; after a broken connection it goes on where that broke."""
        bucket, key = split_uri(location) if "://" in location else (self._bucket, location)
        check_key(key)
        done, etag = 0, ""
        for left in reversed(range(_TRIES)):
            with _translated(self._where(location)):
                answer = self._client.get_object(
                    bucket,
                    key,
                    offset=done,
                    request_headers={"If-Match": etag} if etag else None,
                )
            try:
                etag = answer.headers.get("etag", "")
                size = done + int(answer.headers["content-length"])
                if check is not None:
                    check(size)
                while data := answer.read(CHUNK):
                    done += len(data)
                    yield data
            except HTTPError as error:
                if not left:
                    raise unavailable(self._where(location), error) from error
            else:
                return
            finally:
                # A body that was read to its end has returned its connection; others are closed.
                answer.close()
                answer.release_conn()


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turns errors of minio-py into the store's errors."""
    try:
        yield
    except S3Error as error:
        raise _translation(error, where) from error
    except MinioException as error:
        raise ConfigurationError(
            f"{where}: the server does not answer like S3: {error}; check the endpoint"
        ) from error


def _refusal(answer: urllib3.BaseHTTPResponse, where: str) -> StoreError:
    """Returns the error in an answer to a request that this module sent itself."""
    if "xml" in answer.headers.get("content-type", ""):
        return _translation(S3Error.fromxml(answer), where)
    return ConfigurationError(
        f"{where}: the server answers HTTP {answer.status}, not like S3; check the endpoint"
    )


def _translation(error: S3Error, where: str) -> StoreError:
    text = f"{where}: {error.code}: {error.message}"
    if error.code == "NoSuchBucket":
        return BucketMissingError(f"{text}; create the bucket or correct its name")
    if error.code in _MISSING:
        return NotFoundError(f"{where} does not exist")
    if error.code in _DENIED:
        return AccessDeniedError(
            f"{text}; check the store credentials, what they may do, and this machine's clock"
        )
    if error.code in _WRONG:
        return ConfigurationError(f"{text}; check endpoint, region and bucket")
    if error.code in {"InvalidArgument", "KeyTooLongError", "XMinioInvalidObjectName"}:
        return InvalidNameError(text)
    return StoreUnavailableError(f"{text}; try again later")
