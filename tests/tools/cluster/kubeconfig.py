"""Kubeconfig files of the development cluster."""

import base64
from pathlib import Path
from typing import Any

import yaml

from tools.cluster.certificates import KeyPair


def write_for_certificate(path: Path, server: str, authority: Path, pair: KeyPair) -> Path:
    """Write a self-contained kubeconfig that authenticates with a client certificate."""
    user = {
        "client-certificate-data": _encoded(pair.certificate),
        "client-key-data": _encoded(pair.key),
    }
    return _write(path, server, authority, user)


def write_for_token_file(
    path: Path, server: str, authority: Path, token: Path, namespace: str
) -> Path:
    """Write a kubeconfig that reads a service account's token from its file each time."""
    # kopf's own login knows no tokenFile; the others prefer the file to the text.
    user = {"tokenFile": str(token), "token": token.read_text()}
    return _write(path, server, authority, user, namespace)


def _write(
    path: Path, server: str, authority: Path, user: dict[str, str], namespace: str = "default"
) -> Path:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "development",
        "clusters": [
            {
                "name": "development",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": _encoded(authority),
                },
            }
        ],
        "users": [{"name": "user", "user": user}],
        "contexts": [
            {
                "name": "development",
                "context": {"cluster": "development", "user": "user", "namespace": namespace},
            }
        ],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
