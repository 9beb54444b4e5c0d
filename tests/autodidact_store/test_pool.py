import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from autodidact_store import (
    ConfigurationError,
    StoreUnavailableError,
    check,
)
from support.faulty_proxy import FaultyProxy
from support.proxied import through


def test_unreachable_server_is_unavailable(bucket: Any, tmp_path: Path) -> None:
    """When nobody listens every call gives up in time and says that a retry helps."""
    store = bucket.open(patience_s=0.2, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    (tmp_path / "file").write_bytes(b"")
    for attempt in (
        lambda: check(store),
        lambda: store.create("a", b""),
        lambda: store.read("a", 1),
        lambda: store.upload("a", tmp_path / "file"),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1") as caught:
            attempt()
        assert caught.value.retry
        assert "Signature" not in str(caught.value)


def test_tls_needs_the_authority(bucket: Any, tmp_path: Path) -> None:
    """A private certificate is refused with the remedy, and accepted with its authority."""
    authority, context = certificate(tmp_path)
    with FaultyProxy(bucket.server.endpoint, tls=context) as proxy:
        environ = through(proxy, "https")
        with pytest.raises(ConfigurationError, match="AWS_CA_BUNDLE"):
            bucket.open(**environ).create("a", b"abc")
        with pytest.raises(ConfigurationError, match="AWS_CA_BUNDLE"):
            check(bucket.open(**environ))
        trusting = bucket.open(**environ, AWS_CA_BUNDLE=str(authority))
        assert trusting.create("a", b"abc")
        trusting.replace("b", b"abc")
        assert trusting.read("a", 3) == b"abc"


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Returns the file of a self-signed certificate of 127.0.0.1 and a server's use of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=5))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context
