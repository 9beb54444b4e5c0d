"""The errors of a store.

::

    StoreError
    |-- StoreUnavailableError   a retry helps: no connection, time-out, 5xx, SlowDown, disk full
    `-- somebody must act; a retry changes nothing
        |-- AccessDeniedError   wrong or expired credentials, or no right to this object
        |-- BucketMissingError  the bucket or the store's directory does not exist
        |-- NotFoundError       no such object
        |-- CorruptError        an object is not what was published, or does not belong to its key
        |-- TooLargeError       more bytes than the reader allows
        |-- InvalidNameError    a key or file name that a store may not have (also a ValueError)
        `-- ConfigurationError  bad URI, missing endpoint or credentials, wrong certificate

Every message names the object, the value and the remedy. Errors of local files (a scratch disk
that is full) are plain OSError.
"""

from typing import ClassVar


class StoreError(Exception):
    """Root of the tree; ``retry`` says whether trying again later can help."""

    retry: ClassVar[bool] = False


class StoreUnavailableError(StoreError):
    """The store did not answer, or answered that it cannot serve now."""

    retry: ClassVar[bool] = True


class AccessDeniedError(StoreError):
    """The store refused the credentials, or they have no right to the object."""


class BucketMissingError(StoreError):
    """The bucket, or the directory of a directory store, does not exist."""


class NotFoundError(StoreError):
    """There is no such object."""


class CorruptError(StoreError):
    """An object differs from its description.

    Attributes:
        where: URI of the object.
        expected: What its description says.
        found: What is there.
    """

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(
            f"{where} is corrupt: expected {expected}, found {found}; "
            "restore the object or delete its artifact so that it is made again"
        )
        self.where = where
        self.expected = expected
        self.found = found


class TooLargeError(StoreError):
    """An object is larger than its reader or writer allows."""


class InvalidNameError(StoreError, ValueError):
    """A key or a file name that no store accepts."""


class ConfigurationError(StoreError):
    """The store cannot be used with the given URI, endpoint, credentials or certificates."""
