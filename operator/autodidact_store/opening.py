"""Opens the store that a URI names; the environment has its endpoint and credentials.

=============================  ====================================================================
AWS_ENDPOINT_URL_S3            URL of the server, such as http://minio:9000
AWS_ENDPOINT_URL_STS           URL of the server's STS, for ``open_sts``
AWS_ENDPOINT_URL               both, if those are not set
AWS_REGION                     us-east-1 if not set
AUTODIDACT_STORE_CREDENTIALS   directory with files accessKey, secretKey and perhaps sessionToken
                               and expiration, read again when they change
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
                               if that is not set
AWS_CA_BUNDLE, SSL_CERT_FILE   trusted authorities instead of the system's
=============================  ====================================================================
"""

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from minio.credentials.providers import Provider, StaticProvider

from autodidact_contract.environment import STORE_CREDENTIALS
from autodidact_store.credentials import FileCredentials
from autodidact_store.directory import DirectoryStore
from autodidact_store.errors import ConfigurationError, StoreError
from autodidact_store.pool import PATIENCE_S, PatientPool
from autodidact_store.protocol import Store
from autodidact_store.s3 import S3Store
from autodidact_store.sts import TokenService

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(
    uri: str, environ: Mapping[str, str] = os.environ, *, patience_s: float = PATIENCE_S
) -> Store:
    """Returns the store that a URI names; see ``check`` for whether it can be reached.

    Args:
        uri: ``s3://bucket``, ``file:///directory`` or the path of a directory.
        environ: Where endpoint and credentials are found.
        patience_s: How long a server may be away before a call gives up.

    Raises:
        ConfigurationError: The URI is not one of these, or the environment lacks something.
    """
    scheme, separator, rest = uri.partition("://")
    if uri and not separator:
        return DirectoryStore(Path(uri))
    if scheme == "file" and rest.startswith("/"):
        return DirectoryStore(Path(unquote(rest)))
    bucket = rest.removesuffix("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            f"not a store: {uri!r}; write s3://bucket, file:///directory or a path"
        )
    endpoint = _endpoint(environ, "S3")
    return S3Store(
        bucket,
        endpoint.netloc,
        _credentials(environ, patience_s),
        region=_region(environ),
        secure=endpoint.scheme == "https",
        certificates=_certificates(environ),
        patience_s=patience_s,
    )


def open_sts(
    role_arn: str = "",
    environ: Mapping[str, str] = os.environ,
    *,
    patience_s: float = PATIENCE_S,
) -> TokenService:
    """Returns the STS of the store's server; nothing is asked of it yet.

    Args:
        role_arn: The role whose rights are lent, if the server wants one.
        environ: As for ``open_store``.
        patience_s: As for ``open_store``.

    Raises:
        ConfigurationError: The environment lacks something.
    """
    certificates = _certificates(environ)
    return TokenService(
        _endpoint(environ, "STS"),
        _credentials(environ, patience_s),
        # Its answers are short, so a long silence means that the server is away.
        PatientPool(patience_s, str(certificates) if certificates else None, read_s=patience_s),
        region=_region(environ),
        role_arn=role_arn,
    )


def check(store: Store, prefix: str = "") -> None:
    """Checks that the bucket or directory exists and that the credentials may list it.

    Args:
        store: What to check.
        prefix: For credentials that may list only keys with this prefix, such as ``namespace/``.

    Raises:
        StoreError: It cannot be used.
    """
    next(store.entries(prefix), None)


def check_create(store: Store) -> None:
    """Checks that the store never creates an object twice; publishing relies on that.

    A server that does not know conditional writes may ignore the condition. Two attempts of one
    stage would then overwrite each other's manifest.

    Raises:
        StoreError: The store cannot be used.
    """
    key = f".autodidact-check-{secrets.token_hex(8)}"
    try:
        refused = store.create(key, b"first") and not store.create(key, b"second")
    finally:
        with suppress(StoreError):
            store.delete(key)
    if not refused:
        raise ConfigurationError(
            f"{store.uri}: the server overwrote an object in spite of If-None-Match: *; use one "
            "with conditional writes, such as MinIO, AWS S3 or versitygw"
        )


def _endpoint(environ: Mapping[str, str], service: str) -> SplitResult:
    url = environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL")
    if not url:
        raise ConfigurationError(
            "the store's server is not named; set AWS_ENDPOINT_URL, such as http://minio:9000"
        )
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ConfigurationError(f"AWS_ENDPOINT_URL is not a URL such as http://minio:9000: {url}")
    if parts.path not in {"", "/"} or parts.query:
        raise ConfigurationError(f"AWS_ENDPOINT_URL must not have a path or query: {url}")
    return parts


def _region(environ: Mapping[str, str]) -> str:
    return environ.get("AWS_REGION") or "us-east-1"


def _credentials(environ: Mapping[str, str], patience_s: float) -> Provider:
    directory = environ.get(STORE_CREDENTIALS)
    if directory:
        provider = FileCredentials(Path(directory), patience_s)
        provider.retrieve()
        return provider
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        raise ConfigurationError(
            f"there are no store credentials; set {STORE_CREDENTIALS} to a directory "
            "with accessKey and secretKey, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return StaticProvider(access, secret, environ.get("AWS_SESSION_TOKEN") or None)


def _certificates(environ: Mapping[str, str]) -> Path | None:
    name = environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    if not name:
        return None
    path = Path(name)
    if not path.is_file():
        raise ConfigurationError(f"AWS_CA_BUNDLE names a file that does not exist: {path}")
    return path
