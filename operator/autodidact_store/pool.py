"""HTTP requests that are repeated while the server is away: growing delays, one deadline."""

import random
import ssl
import time
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from autodidact_store.errors import ConfigurationError, StoreUnavailableError

PATIENCE_S = 45.0
"""How long a server may be away before a call gives up; a restart takes up to 30 s."""

CONNECT_S = 5.0
READ_S = 60.0
"""Longest silence of a server that is connected."""

RETRIED = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 4.0


class Patience:
    """The delays between tries: they double, with jitter, until the time is up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._delay_s = _FIRST_DELAY_S

    def wait(self, at_least_s: float = 0.0, sleep: Callable[[float], object] = time.sleep) -> bool:
        """Sleeps and returns True if there is time for another try; else returns False at once.

        Args:
            at_least_s: What the server asks for.
            sleep: Sleeps so many seconds, or less.
        """
        delay_s = max(self._delay_s * random.uniform(0.5, 1.0), at_least_s)
        if time.monotonic() + delay_s > self._end:
            return False
        sleep(delay_s)
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        return True


class PatientPool(urllib3.PoolManager):
    """A connection pool that repeats requests until they succeed or the time is up.

    Every S3 request may be repeated, except a conditional PUT: for that there is ``once``. If the
    completion of a multipart upload is repeated, the answer may be NoSuchUpload.
    """

    def __init__(self, patience_s: float, certificates: str | None, read_s: float = READ_S) -> None:
        super().__init__(
            maxsize=16,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
            cert_reqs="CERT_REQUIRED",
            ca_certs=certificates,
        )
        self.patience_s = patience_s

    def once(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Sends a request once and returns the answer, whatever its status.

        Raises:
            urllib3.exceptions.HTTPError: No answer came.
        """
        return super().urlopen(method, url, redirect=False, **options, retries=False)

    def urlopen(  # type: ignore[override]  # As urllib3 does itself.
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> urllib3.BaseHTTPResponse:
        """Returns the first answer whose status is not one of ``RETRIED``.

        Raises:
            ConfigurationError: The server's certificate is not trusted.
            StoreUnavailableError: There was no such answer in time.
        """
        del redirect
        patience = Patience(self.patience_s)
        while True:
            try:
                answer = self.once(method, url, **kw)
            except HTTPError as error:
                refuse_certificate(error, url)
                if not patience.wait():
                    raise unavailable(url, error) from error
            else:
                if answer.status not in RETRIED:
                    return answer
                text = answer.data[:500].decode(errors="replace")
                if not patience.wait():
                    raise unavailable(url, f"HTTP {answer.status} {text}".strip())


def unavailable(url: str, reason: object) -> StoreUnavailableError:
    """Returns the error for a server that did not answer, without the URL's query: it may be secret."""
    server = url.split("?", maxsplit=1)[0]
    return StoreUnavailableError(
        f"{server}: the store did not serve the request: {reason}; "
        "check that the server runs and can be reached from here"
    )


def refuse_certificate(error: HTTPError, url: str) -> None:
    """Raises an error if the request failed for a reason that a retry does not change.

    Raises:
        ConfigurationError: The server's certificate is not trusted, or the URL is not one.
    """
    server = url.split("?", maxsplit=1)[0]
    if isinstance(error, LocationValueError):
        raise ConfigurationError(f"not the URL of a server: {server}: {error}") from error
    if isinstance(error, SSLError) and any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in (*error.args, error.__cause__)
    ):
        raise ConfigurationError(
            f"{server}: {error}; name the authority's certificate file in AWS_CA_BUNDLE"
        ) from error
