"""Store credentials from a mounted Secret; they are read again whenever its files change."""

import threading
import time
from datetime import datetime
from pathlib import Path

from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider

from autodidact_store.errors import ConfigurationError, StoreUnavailableError
from autodidact_store.pool import PATIENCE_S

ACCESS_KEY = "accessKey"
SECRET_KEY = "secretKey"  # noqa: S105 - the name of a file, not a secret
SESSION_TOKEN = "sessionToken"  # noqa: S105 - as above
EXPIRATION = "expiration"

_TRIES = 5
_POLL_S = 0.5
_OPTIONAL = frozenset({SESSION_TOKEN, EXPIRATION})

_Stamp = tuple[tuple[int, int, int] | None, ...]


class FileCredentials(Provider):
    """Reads ``accessKey``, ``secretKey`` and, if there are, ``sessionToken`` and ``expiration``.

    minio-py asks before every request, so renewed credentials are used from the next request on,
    even in the middle of an upload. If temporary credentials have expired, the operator was away and
    did not renew them: then this waits for new ones. Were expired ones sent, the server would answer
    with an error that looks as if no retry could help.

    Args:
        directory: Where the files are.
        patience_s: How long to wait for new ones once those in the files have expired.
    """

    def __init__(self, directory: Path, patience_s: float = PATIENCE_S) -> None:
        self._directory = directory
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._stamp: _Stamp = ()
        self._current: Credentials | None = None

    def retrieve(self) -> Credentials:
        """Returns the credentials that the files hold now.

        Raises:
            ConfigurationError: A file is missing, empty or unreadable.
            StoreUnavailableError: They have expired, and nobody renewed them in time.
        """
        end = time.monotonic() + self._patience_s
        while (current := self._held()).is_expired():
            if time.monotonic() > end:
                raise StoreUnavailableError(
                    f"the credentials in {self._directory} expired at {current.expiration} UTC; "
                    "the operator renews them: check that it runs"
                )
            time.sleep(_POLL_S)
        return current

    def _held(self) -> Credentials:
        with self._lock:
            for _ in range(_TRIES):
                stamp = self._look()
                if self._current is not None and stamp == self._stamp:
                    return self._current
                current = self._read()
                # The kubelet replaces all files at once. If none changed, those read belong together.
                if stamp == self._look():
                    self._stamp, self._current = stamp, current
                    return current
            raise ConfigurationError(f"the credentials in {self._directory} keep changing")

    def _look(self) -> _Stamp:
        stamps: list[tuple[int, int, int] | None] = []
        for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, EXPIRATION):
            try:
                stat = (self._directory / name).stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        return tuple(stamps)

    def _read(self) -> Credentials:
        return Credentials(
            access_key=self._text(ACCESS_KEY),
            secret_key=self._text(SECRET_KEY),
            session_token=self._text(SESSION_TOKEN) or None,
            expiration=self._time(EXPIRATION),
        )

    def _time(self, name: str) -> datetime | None:
        text = self._text(name)
        try:
            return datetime.fromisoformat(text) if text else None
        except ValueError as error:
            raise ConfigurationError(
                f"store credentials: {self._directory / name} is not a time: {text}"
            ) from error

    def _text(self, name: str) -> str:
        path = self._directory / name
        if name in _OPTIONAL and not path.exists():
            return ""
        try:
            text = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"store credentials: {path}: {error.strerror}; "
                f"the Secret needs {ACCESS_KEY} and {SECRET_KEY}"
            ) from error
        if not text and name not in _OPTIONAL:
            raise ConfigurationError(f"store credentials: {path} is empty")
        return text
