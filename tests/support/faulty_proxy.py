"""A TCP proxy that loses what it is told to lose."""

import contextlib
import math
import re
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Self

_ENDED = (
    b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/xml\r\n"
    b"Content-Length: 89\r\n\r\n"
    b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired</Message></Error>"
)
_SIGNED = re.compile(rb"Authorization: AWS4-HMAC-SHA256 Credential=([^/]+)/", re.IGNORECASE)


class FaultyProxy:
    """Forwards connections to a server, but breaks some of them.

    Attributes:
        cut_after: For each further connection, after how many bytes of answers it breaks.
        lose: Beginnings of requests whose answer is lost, once each; the server gets the request.
        drop: Pieces of requests that never reach the server.
        answered: Bytes of answers that were passed on.
        signed: Times and access keys of the requests, in their order.
        key_lifetime_s: Seconds after its first use in which a key is good: the clock of an STS, sped up.
        refused: Keys that were used for longer.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: list[int] = []
        self.lose: list[bytes] = []
        self.drop: list[bytes] = []
        self.answered = 0
        self.signed: list[tuple[float, str]] = []
        self.key_lifetime_s = math.inf
        self.refused: list[str] = []
        self._first_used: dict[str, float] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A close alone does not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            limit = self.cut_after.pop(0) if self.cut_after else 1 << 40
            with client, socket.create_connection(self._upstream) as server:
                doomed = threading.Event()
                arguments = (client, server, doomed)
                threading.Thread(target=self._requests, args=arguments, daemon=True).start()
                self._answers(client, server, doomed, limit)

    def _requests(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                keys = [key.decode() for key in _SIGNED.findall(data)]
                self.signed += [(time.monotonic(), key) for key in keys]
                if old := [key for key in keys if self._has_ended(key)]:
                    self.refused += old
                    client.sendall(_ENDED)
                    client.shutdown(socket.SHUT_RDWR)
                    break
                for beginning in [b for b in self.lose if data.startswith(b)]:
                    self.lose.remove(beginning)
                    doomed.set()
                for piece in self.drop:
                    data = data.replace(piece, b"")
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _has_ended(self, key: str) -> bool:
        now = time.monotonic()
        return now - self._first_used.setdefault(key, now) > self.key_lifetime_s

    def _answers(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event, limit: int
    ) -> None:
        while limit and (data := server.recv(min(limit, 1 << 16))):
            if doomed.is_set():
                break
            limit -= len(data)
            self.answered += len(data)
            client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
