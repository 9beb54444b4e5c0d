"""Sets of values: what people install, from the least to everything."""

import json
from pathlib import Path
from typing import Any

DIGEST = "sha256:" + "a" * 64

EVERYTHING: dict[str, Any] = {
    "image": {"digest": DIGEST},
    "imagePullSecrets": [{"name": "registry"}],
    "worker": {"image": {"digest": DIGEST}, "imagePullSecrets": ["registry"]},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "apiServer": {"cidrs": ["10.96.0.1/32"]},
        "stages": {
            "namespaces": ["red"],
            "importEgress": [{"ports": [{"protocol": "TCP", "port": 443}]}],
        },
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "ML"}},
    },
    "minio": {
        "enabled": True,
        "image": {"digest": DIGEST},
        "secretKey": "correct-horse",
        "namespaces": ["red"],
        "storage": {"className": "fast"},
    },
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.com/team": "ml"},
    "podLabels": {"example.com/team": "ml"},
    "service": {"annotations": {"example.com/team": "ml"}},
    "serviceAccount": {"annotations": {"example.com/team": "ml"}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
}

NAMESPACED: dict[str, Any] = {
    "watch": {"namespaces": ["red", "blue"]},
    "crds": {"install": False},
    "computeProfiles": None,
    "networkPolicy": {"enabled": True, "store": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}},
    "store": {"endpoint": "https://s3.example.com", "credentialsSecret": "", "workerSecret": ""},
}

SETS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "namespaced": NAMESPACED,
}


def file(folder: Path, name: str) -> Path:
    """Writes a set as a file for Helm; returns its path."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(SETS[name]))
    return path
