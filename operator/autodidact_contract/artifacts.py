"""Names, keys and manifests of artifacts. Pure: no file is opened here.

An artifact is what one stage produced. It lies below ``<namespace>/artifacts/<kind>-<key>/``, one
folder per shard, and each shard's ``manifest.json`` is written last and create-only: what has no
manifest does not exist.

Rows are cut into part files of a fixed number of items, so that the union of the files over all
shards, and with it the digest of the artifact, does not depend on the number of shards.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import Field

from autodidact_contract.base import Schema, canonical_json, digest

PROTOCOL: Final = 1
"""Part of every stage key; raised when a stage's meaning changes without its config changing."""

PART_ITEMS = 64
"""Items (prompts, questions) in one part file of a sharded stage; fixed, or digests would move."""

VOTES = "votes-"
"""Begins the counts of a judge's readable votes by their score, for example votes-4."""

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
"""The operator reads manifests; a larger one is refused unread."""

_N = TypeVar("_N", int, float)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class File(Schema):
    """One file of an artifact."""

    path: str = Field(description="Name inside the artifact; flat, never a path with folders.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    location: str = Field(
        description="Where the bytes are: a key of this store, or the s3:// URI of an input "
        "that was not copied."
    )


class Mean(Schema):
    """A mean that can be added up over shards: the sum of its terms and their number."""

    total: float
    weight: float = 1.0

    @property
    def value(self) -> float | None:
        """The mean, or None when nothing was measured."""
        return self.total / self.weight if self.weight else None


class Manifest(Schema):
    """What a shard published: its files, where they come from and what was measured."""

    protocol: int = PROTOCOL
    kind: str
    key: str
    shard: int = Field(ge=0)
    shards: int = Field(ge=1)
    files: tuple[File, ...]
    inputs: dict[str, str] = Field(description="Digest of each input artifact by input name.")
    config: dict[str, Any] = Field(description="The resolved stage config.")
    counts: dict[str, int] = {}
    metrics: dict[str, Mean] = {}
    versions: dict[str, str] = Field({}, description="Version of each library that mattered.")
    image: str = ""
    world_size: int = Field(1, ge=1, description="Processes that trained together.")
    deepspeed: str = Field("none", description="How it was spread over them: none, zero2, zero3.")
    engine: str = Field(
        "", description="What sampled and its version, where something was sampled."
    )
    seconds: dict[str, float] = Field({}, description="Wall time by phase; not in the digest.")


class Artifact(Schema):
    """A complete artifact as the planner sees it: all shards published, folded into one."""

    kind: str
    key: str
    digest: str
    shards: int = 1
    counts: dict[str, int] = {}
    metrics: dict[str, float | None] = {}
    seconds: dict[str, float] = {}
    folder: str = Field("", description="Folder of the files in the store, where they share one.")
    inputs: dict[str, str] = Field(
        {}, description="Digest of each input by its name; known once the artifact was fetched."
    )
    config: dict[str, Any] = Field({}, description="Resolved stage config; known likewise.")

    @property
    def name(self) -> str:
        """The artifact's folder name."""
        return f"{self.kind}-{self.key}"


def stage_key(config: Mapping[str, Any], inputs: Mapping[str, str], salt: str = "") -> str:
    """Returns the key of a stage's output, 32 hexadecimal digits.

    It covers the stage kind (in the config), the protocol version, the resolved config with its
    seed and the digests of the inputs, and nothing that names a run: whoever asks for the same
    thing in the same namespace finds it there.

    Args:
        config: The stage config as plain JSON, see ``stages.StageConfig.dump``.
        inputs: Digest of each input artifact by input name.
        salt: Set for imports of locations whose content may change, so that each run looks again.
    """
    value = {"protocol": PROTOCOL, "config": config, "inputs": dict(inputs), "salt": salt}
    return digest(value)[:32]


def artifact_digest(files: Iterable[File]) -> str:
    """Returns the digest of an artifact: over the names and sha256 of the files of all shards."""
    return digest({file.path: file.sha256 for file in files})


def fold(manifests: Sequence[Manifest]) -> Artifact:
    """Returns the artifact that a complete set of shard manifests describes."""
    first = manifests[0]
    files = [file for m in manifests for file in m.files]
    counts = _added([m.counts for m in manifests])
    folders = {file.location.rpartition("/")[0] for file in files}
    return Artifact(
        kind=first.kind,
        key=first.key,
        digest=artifact_digest(files),
        shards=first.shards,
        counts=counts,
        metrics=_means(manifests) | _entropy(counts),
        seconds=_added([m.seconds for m in manifests]),
        folder=folders.pop() if len(folders) == 1 else "",
    )


def _added(parts: Sequence[Mapping[str, _N]]) -> dict[str, _N]:
    names = sorted({name for part in parts for name in part})
    return {name: sum(part[name] for part in parts if name in part) for name in names}


def _means(manifests: Sequence[Manifest]) -> dict[str, float | None]:
    totals = _added([{name: mean.total for name, mean in m.metrics.items()} for m in manifests])
    weights = _added([{name: mean.weight for name, mean in m.metrics.items()} for m in manifests])
    return {name: Mean(total=total, weight=weights[name]).value for name, total in totals.items()}


def _entropy(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Returns the entropy of a judge's scores in nats, if there are any.

    It cannot be a ``Mean``: those of the shards have no mean that would be the whole's. The counts
    of each score add up, and what they say is known where they are added.
    """
    votes = [count for name, count in counts.items() if name.startswith(VOTES) and count]
    total = sum(votes)
    if not total:
        return {}
    return {"scoreEntropy": sum(n / total * math.log(total / n) for n in votes)}


def prefix(namespace: str, kind: str, key: str) -> str:
    """Returns the key prefix under which all shards of an artifact lie, ending in a slash."""
    return f"{namespace}/artifacts/{kind}-{key}/"


def checkpoint_prefix(namespace: str, kind: str, key: str) -> str:
    """Returns the key prefix of the checkpoints of an artifact's stage, ending in a slash."""
    return f"{namespace}/checkpoints/{kind}-{key}/"


def shard_prefix(namespace: str, kind: str, key: str, shard: int, shards: int) -> str:
    """Returns the key prefix of one shard, ending in a slash."""
    return f"{prefix(namespace, kind, key)}{shard}-of-{shards}/"


def run_prefix(namespace: str, uid: str) -> str:
    """Returns the key prefix of a run's record (run.json, report.html), ending in a slash."""
    return f"{namespace}/runs/{uid}/"


def part_name(stem: str, part: int) -> str:
    """Returns the name of a part file, for example ``responses-00002.jsonl``."""
    return f"{stem}-{part:05d}.jsonl"


def shard_parts(items: int, shard: int, shards: int) -> range:
    """Returns the part numbers that a shard owns: contiguous, and together all of them once."""
    parts = -(-items // PART_ITEMS)
    return range(parts * shard // shards, parts * (shard + 1) // shards)


def check_file_name(name: str) -> str:
    """Returns the name if it can be a file of an artifact.

    Raises:
        ValueError: The name has folders, unusual characters, or is longer than 128 characters.
    """
    if not _FILE.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"not a file name an artifact may have: {name!r}")
    return name


def encode(manifest: Manifest) -> bytes:
    """Returns the manifest as the bytes that are stored."""
    return canonical_json(manifest.dump())
