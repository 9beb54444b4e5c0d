"""Artifacts on MinIO, any S3 with conditional PUT, or in a directory.

``open_store`` gives a ``Store``; ``publish``, ``find`` and ``fetch`` keep artifacts on it.
"""

from autodidact_store.directory import DirectoryStore
from autodidact_store.errors import (
    AccessDeniedError,
    BucketMissingError,
    ConfigurationError,
    CorruptError,
    InvalidNameError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
    TooLargeError,
)
from autodidact_store.opening import check, check_create, open_store
from autodidact_store.protocol import Entry, OnBytes, Store
from autodidact_store.publishing import fetch, find, manifests, publish, published
from autodidact_store.s3 import S3Store

__all__ = [
    "AccessDeniedError",
    "BucketMissingError",
    "ConfigurationError",
    "CorruptError",
    "DirectoryStore",
    "Entry",
    "InvalidNameError",
    "NotFoundError",
    "OnBytes",
    "S3Store",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "TooLargeError",
    "check",
    "check_create",
    "fetch",
    "find",
    "manifests",
    "open_store",
    "publish",
    "published",
]
