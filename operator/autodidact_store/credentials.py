"""Credentials in a mounted Secret, read again whenever the files change."""

import threading
from pathlib import Path

from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider

from autodidact_store.errors import ConfigurationError

ACCESS_KEY = "accessKey"
SECRET_KEY = "secretKey"  # noqa: S105 - the name of a file, not a secret
SESSION_TOKEN = "sessionToken"  # noqa: S105 - as above

_TRIES = 5

_Stamp = tuple[tuple[int, int, int] | None, ...]


class FileCredentials(Provider):
    """Reads ``accessKey``, ``secretKey`` and, if there is one, ``sessionToken`` in a directory.

    minio-py asks before every request, so a refreshed Secret is used from the next request on,
    also in the middle of an upload.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._stamp: _Stamp = ()
        self._current: Credentials | None = None

    def retrieve(self) -> Credentials:
        """Returns the credentials that the files hold now.

        Raises:
            ConfigurationError: A file is missing, empty or unreadable.
        """
        with self._lock:
            for _ in range(_TRIES):
                stamp = self._look()
                if self._current is not None and stamp == self._stamp:
                    return self._current
                current = self._read()
                # The kubelet swaps the files all at once: those read belong together if none moved.
                if stamp == self._look():
                    self._stamp, self._current = stamp, current
                    return current
            raise ConfigurationError(f"the credentials in {self._directory} keep changing")

    def _look(self) -> _Stamp:
        stamps: list[tuple[int, int, int] | None] = []
        for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN):
            try:
                stat = (self._directory / name).stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        return tuple(stamps)

    def _read(self) -> Credentials:
        token = self._directory / SESSION_TOKEN
        return Credentials(
            access_key=self._text(ACCESS_KEY),
            secret_key=self._text(SECRET_KEY),
            session_token=self._text(SESSION_TOKEN) if token.exists() else None,
        )

    def _text(self, name: str) -> str:
        path = self._directory / name
        try:
            text = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"store credentials: {path}: {error.strerror}; "
                f"the Secret needs {ACCESS_KEY} and {SECRET_KEY}"
            ) from error
        if not text and name != SESSION_TOKEN:
            raise ConfigurationError(f"store credentials: {path} is empty")
        return text
