"""What a node of the development cluster is told."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """The shape of a node and how its pods run.

    Attributes:
        name: The Node's name.
        gpus: How many `nvidia.com/gpu` the node offers.
        capacity: Further or other resources, such as `{"memory": "8Gi"}`.
        labels: Further labels of the Node; a node may not set `node-restriction` ones.
        path: First entries of PATH in pods; by default the running Python's `bin`.
        environment: Variables every container gets, such as `OMP_NUM_THREADS`.
        entrypoints: Command of images by a part of their name, for containers that name no
            command of their own.
        broken_images: An image whose name contains one of these cannot be pulled.
        unique_pod_ips: Give each pod a loopback address of its own (127.1.x.y) instead of
            127.0.0.1, so that two pods can listen on one port.
        back_off_s: First delay before a crashed container is started again; it doubles.
        back_off_limit_s: Longest such delay.
        refresh_s: How often mounted Secrets and ConfigMaps are read again.
        heartbeat_s: How often the node's Lease is renewed.
    """

    name: str = "process-node"
    gpus: int = 8
    capacity: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = str(Path(sys.executable).parent)
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoints: Mapping[str, list[str]] = field(default_factory=dict)
    broken_images: tuple[str, ...] = ("does-not-exist",)
    unique_pod_ips: bool = False
    back_off_s: float = 0.5
    back_off_limit_s: float = 10.0
    refresh_s: float = 3.0
    heartbeat_s: float = 10.0

    def to_json(self) -> str:
        """Return the settings as JSON, for a node in another process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return settings from what `to_json` returned."""
        values = json.loads(text)
        return cls(**values | {"broken_images": tuple(values.get("broken_images", ()))})
