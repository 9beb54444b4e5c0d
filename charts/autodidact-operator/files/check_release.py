"""Exits with 0 if the operator is well and the API server serves its kinds; its account has no rights.

Anyone who has a token may ask which kinds there are.
"""

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 10
KINDS = {"SelfRewardRun", "ReFTRun", "ComputeProfile"}


def read(url: str, tls: ssl.SSLContext | None = None, **headers: str) -> bytes:
    """Returns what a server answers; a refusal is an error."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the chart's own address
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=tls) as answer:  # noqa: S310
        return bytes(answer.read())


for path in ("/healthz", "/readyz"):
    print(path, read(os.environ["OPERATOR"] + path).decode().strip())

server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
token = (ACCOUNT / "token").read_text()
url = f"{server}/apis/autodidact.dev/v1alpha1"
found = json.loads(read(url, tls, Authorization=f"Bearer {token}"))
served = {resource["kind"] for resource in found["resources"]}
print("served:", ", ".join(sorted(served)))
sys.exit(f"not served: {', '.join(sorted(KINDS - served))}" if KINDS - served else 0)
