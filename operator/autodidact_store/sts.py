"""Temporary credentials for a part of the store, by AssumeRole with a session policy.

The request is made here and not by minio-py: its provider never asks for less than an hour, and it
cannot sign with credentials that are temporary themselves.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import SplitResult, urlencode
from xml.etree import ElementTree

from minio.credentials.providers import Provider
from minio.signer import sign_v4_sts

from autodidact_store.credentials import ACCESS_KEY, EXPIRATION, SECRET_KEY, SESSION_TOKEN
from autodidact_store.errors import (
    AccessDeniedError,
    ConfigurationError,
    StoreError,
    StoreUnavailableError,
)
from autodidact_store.pool import PatientPool

MAX_POLICY = 2048
"""Characters of a session policy that AWS and MinIO take."""

_VERSION = "2011-06-15"
_DENIED = frozenset({401, 403})


@dataclass(frozen=True, kw_only=True)
class Session:
    """Temporary credentials; their ``repr`` hides what is secret.

    Attributes:
        expires_at: When they end, with its zone.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime

    def files(self) -> dict[str, str]:
        """Returns the contents of the files that ``FileCredentials`` reads, by file name."""
        return {
            ACCESS_KEY: self.access_key,
            SECRET_KEY: self.secret_key,
            SESSION_TOKEN: self.session_token,
            EXPIRATION: self.expires_at.isoformat(),
        }


class TokenService:
    """The STS of an S3 server.

    Args:
        endpoint: Its URL, split.
        credentials: Whose rights are lent; asked before every request.
        http: The connections to it.
        region: The region that the signature names.
        role_arn: The role to assume; AWS wants one, MinIO ignores it.
    """

    def __init__(
        self,
        endpoint: SplitResult,
        credentials: Provider,
        http: PatientPool,
        *,
        region: str = "us-east-1",
        role_arn: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._http = http
        self._region = region
        self._role_arn = role_arn

    @property
    def url(self) -> str:
        """The service's URL."""
        return self._endpoint.geturl()

    def mint(self, policy: Mapping[str, Any], duration_s: int, name: str) -> Session:
        """Returns credentials that may do what the policy and the lender's own rights allow.

        Args:
            policy: An IAM policy document, ``MAX_POLICY`` characters of JSON at most.
            duration_s: How long they are valid; servers want at least 900.
            name: What the server's own log calls the session: 2 to 64 letters, digits and dashes.

        Raises:
            AccessDeniedError: The lender may not assume the role, or its credentials are wrong.
            ConfigurationError: The policy is too long, the server has no STS, or it refuses the
                request.
            StoreUnavailableError: It did not answer in time.
        """
        document = encoded(policy)
        if len(document) > MAX_POLICY:
            raise ConfigurationError(
                f"the session policy of {name} has {len(document)} characters, and an STS takes "
                f"{MAX_POLICY}; shorten what it names: the bucket, the namespace, the URIs that are "
                "imported from"
            )
        fields = {
            "Action": "AssumeRole",
            "Version": _VERSION,
            "DurationSeconds": str(duration_s),
            "Policy": document,
            "RoleSessionName": name,
        }
        if self._role_arn:
            fields["RoleArn"] = self._role_arn
        body = urlencode(fields)
        url = self.url if self._endpoint.path else f"{self.url}/"
        answer = self._http.urlopen("POST", url, body=body, headers=self._signed(body))
        if answer.status != 200:
            raise _refusal(self.url, answer.status, answer.data)
        return _session(self.url, answer.data)

    def _signed(self, body: str) -> dict[str, Any]:
        lender, now = self._credentials.retrieve(), datetime.now(UTC)
        headers: dict[str, Any] = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Host": self._endpoint.netloc,
            "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        if lender.session_token:
            headers["X-Amz-Security-Token"] = lender.session_token
        return sign_v4_sts(
            method="POST",
            url=self._endpoint._replace(path=self._endpoint.path or "/"),
            region=self._region,
            headers=headers,
            credentials=lender,
            content_sha256=sha256(body.encode()).hexdigest(),
            date=now,
        )


def encoded(policy: Mapping[str, Any]) -> str:
    """Returns a policy as the JSON text that is sent."""
    return json.dumps(policy, separators=(",", ":"))


def _session(url: str, data: bytes) -> Session:
    found = _texts(data)
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    key, secret, token, end = (found.get(name, "") for name in names)
    try:
        expires_at = datetime.fromisoformat(end)
    except ValueError:
        expires_at = None
    if not (key and secret and token and expires_at and expires_at.tzinfo):
        # The answer is not quoted, since it may hold a secret.
        raise ConfigurationError(f"{url} does not answer like an STS; check the endpoint")
    return Session(access_key=key, secret_key=secret, session_token=token, expires_at=expires_at)


def _refusal(url: str, status: int, data: bytes) -> StoreError:
    found = _texts(data)
    said = ": ".join(found[name] for name in ("Code", "Message") if found.get(name))
    text = f"{url}: AssumeRole: {said or f'HTTP {status}'}"
    if status in _DENIED:
        return AccessDeniedError(
            f"{text}; check the operator's store credentials and whether they may assume the role"
        )
    if status >= 500 or found.get("Code") == "Throttling":
        return StoreUnavailableError(f"{text}; try again later")
    return ConfigurationError(f"{text}; check the STS endpoint, or turn STS off")


def _texts(data: bytes) -> dict[str, str]:
    """Returns the texts of an XML answer by the names of their elements, without namespaces."""
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - our own server's, as minio-py reads it
    except ElementTree.ParseError:
        return {}
    return {part.tag.rpartition("}")[2]: (part.text or "").strip() for part in root.iter()}
