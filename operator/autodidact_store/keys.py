"""Checks keys: a store accepts those that mean the same in a bucket and in a directory."""

from autodidact_store.errors import ConfigurationError, InvalidNameError

MAX_KEY_BYTES = 1024
"""S3's limit."""

MAX_SEGMENT_BYTES = 255
"""The limit of common file systems."""


def check_key(key: str) -> str:
    """Returns the key if a store accepts it.

    Raises:
        InvalidNameError: It is empty, absolute, too long, or has an empty segment, ``.``, ``..``,
            a backslash or a control character.
    """
    reason = _objection(key)
    if reason:
        raise InvalidNameError(f"not a key of a store: {key!r} {reason}")
    return key


def check_prefix(prefix: str) -> str:
    """Returns the prefix if keys can begin with it; every key begins with the empty one.

    Raises:
        InvalidNameError: No key can begin with it.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def split_uri(uri: str) -> tuple[str, str]:
    """Returns bucket and key of ``s3://bucket/key``.

    Raises:
        ConfigurationError: It is not such a URI.
        InvalidNameError: The key is not one that a store may have.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not key:
        raise ConfigurationError(f"not an object of an S3 server: {uri!r}; write s3://bucket/key")
    return bucket, check_key(key)


def _objection(key: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 or c == "\\" for c in key):
        return "has a control character or a backslash"
    segments = key.split("/")
    if "" in segments:
        return "has an empty segment"
    if "." in segments or ".." in segments:
        return "has a segment . or .."
    if len(key.encode()) > MAX_KEY_BYTES or any(
        len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments
    ):
        return "is too long"
    return ""
