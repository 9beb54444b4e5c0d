"""A server that plays an STS badly: each answer becomes an error that says what to do."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from autodidact_store.errors import (
    AccessDeniedError,
    ConfigurationError,
    StoreError,
    StoreUnavailableError,
)
from autodidact_store.opening import open_sts
from autodidact_store.sts import MAX_POLICY, TokenService

GOOD = {
    "AccessKeyId": "lent",
    "SecretAccessKey": "canary-secret",
    "SessionToken": "canary-token",
    "Expiration": "2126-01-01T00:00:00Z",
}


def granted(**changes: str) -> bytes:
    """An answer that lends."""
    parts = "".join(f"<{name}>{text}</{name}>" for name, text in {**GOOD, **changes}.items())
    space = "https://sts.amazonaws.com/doc/2011-06-15/"
    return f'<AssumeRoleResponse xmlns="{space}">{parts}</AssumeRoleResponse>'.encode()


def refused(code: str, message: str) -> bytes:
    """An answer that does not."""
    return (
        f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        "</ErrorResponse>"
    ).encode()


@dataclass
class Played:
    """What the server does.

    Attributes:
        status: It answers with.
        data: It answers.
        silent: It answers only once this is set.
        asked: The requests it got, by field.
    """

    status: int = 200
    data: bytes = b""
    silent: threading.Event | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    port: int = 0

    def open(self, **environ: str) -> TokenService:
        """Opens it, with little patience."""
        given = {
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "lender",
            "AWS_SECRET_ACCESS_KEY": "canary-lender",
        }
        return open_sts("arn:aws:iam::1:role/lent", given | environ, patience_s=0.3)


@pytest.fixture
def sts() -> Iterator[Played]:
    """A server on this machine."""
    played = Played()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            played.asked.append(parse_qs(text))
            if played.silent:
                played.silent.wait(30)
            self.send_response(played.status)
            self.send_header("Content-Length", str(len(played.data)))
            self.end_headers()
            self.wfile.write(played.data)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    played.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield played
    if played.silent:
        played.silent.set()
    server.shutdown()
    server.server_close()


def test_what_is_asked_for(sts: Played) -> None:
    """Role, session, time and policy are asked for; what is lent is not shown."""
    sts.data = granted()
    session = sts.open().mint({"Version": "2012-10-17"}, 900, "tiny-1")
    assert (session.access_key, session.secret_key) == ("lent", "canary-secret")
    assert session.files()["expiration"] == "2126-01-01T00:00:00+00:00"
    assert "canary" not in repr(session)
    assert sts.asked == [
        {
            "Action": ["AssumeRole"],
            "Version": ["2011-06-15"],
            "DurationSeconds": ["900"],
            "Policy": ['{"Version":"2012-10-17"}'],
            "RoleSessionName": ["tiny-1"],
            "RoleArn": ["arn:aws:iam::1:role/lent"],
        }
    ]


@pytest.mark.parametrize(
    ("status", "data", "kind", "words"),
    [
        pytest.param(200, b"", ConfigurationError, "not answer like an STS", id="nothing"),
        pytest.param(200, b"<html><p>", ConfigurationError, "not answer like an STS", id="html"),
        pytest.param(200, b"\xff\x00{", ConfigurationError, "not answer like an STS", id="bytes"),
        pytest.param(
            200,
            granted(SessionToken=""),
            ConfigurationError,
            "not answer like an STS",
            id="no-token",
        ),
        pytest.param(
            200,
            granted(Expiration="soon"),
            ConfigurationError,
            "not answer like an STS",
            id="no-time",
        ),
        pytest.param(
            200,
            granted(Expiration="2126-01-01T00:00:00"),
            ConfigurationError,
            "not answer like an STS",
            id="no-zone",
        ),
        pytest.param(
            403,
            refused("AccessDenied", "not you"),
            AccessDeniedError,
            "AccessDenied: not you; check the operator's store credentials",
            id="denied",
        ),
        pytest.param(404, b"", ConfigurationError, "HTTP 404; check the STS endpoint", id="none"),
        pytest.param(
            400,
            refused("PackedPolicyTooLarge", "110 %"),
            ConfigurationError,
            "PackedPolicyTooLarge: 110 %",
            id="packed",
        ),
        pytest.param(
            400, refused("Throttling", "slow"), StoreUnavailableError, "try again", id="throttled"
        ),
        pytest.param(503, b"busy", StoreUnavailableError, "HTTP 503 busy", id="busy"),
    ],
)
def test_every_answer_says_what_to_do(
    sts: Played, status: int, data: bytes, kind: type[StoreError], words: str
) -> None:
    """Nonsense and refusals are errors with the server's URL, its words and no secret."""
    sts.status, sts.data = status, data
    with pytest.raises(kind) as caught:
        sts.open().mint({}, 900, "tiny-1")
    assert words in str(caught.value)
    assert f"127.0.0.1:{sts.port}" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_silent_server_is_not_waited_for(sts: Played) -> None:
    """A server that takes requests and never answers is given up as soon as one that is away."""
    sts.silent = threading.Event()
    # Waited for, it would answer in the end, and that would be another error.
    with pytest.raises(StoreUnavailableError, match="check that the server runs"):
        sts.open().mint({}, 900, "tiny-1")


def test_a_policy_that_is_too_long_is_not_sent(sts: Played) -> None:
    """The session is named, and what makes its policy long."""
    sts.data = granted()
    policy = {"Version": "x" * (MAX_POLICY - len('{"Version":""}'))}
    assert sts.open().mint(policy, 900, "tiny-1").access_key == "lent"
    with pytest.raises(ConfigurationError, match=r"of tiny-1 has 2049 characters.*shorten"):
        sts.open().mint({"Version": policy["Version"] + "x"}, 900, "tiny-1")
    assert len(sts.asked) == 1
