"""Where the artifacts of a run come from: what each was made of, and by which settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autodidact_contract.base import canonical_json
from autodidact_worker.runtime.frame import InputArtifact

SHORT = 12
"""Digits shown of the digest of an input that is not on the page."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One finished stage.

    Attributes:
        stage: Its name in the run's graph.
        kind: Its kind.
        digest: Digest of what it published.
        made_of: Name of each input, and the stage that made it or the beginning of its digest.
    """

    stage: str
    kind: str
    digest: str
    made_of: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that some stages share, by dotted name."""

    stages: tuple[str, ...]
    values: tuple[tuple[str, str], ...]


def lineage(inputs: Mapping[str, InputArtifact], order: Sequence[str]) -> tuple[Origin, ...]:
    """Returns the stages of a run in order with what they were made of."""
    makers: dict[str, str] = {}
    for name in order:
        makers.setdefault(inputs[name].digest, name)
    return tuple(
        Origin(
            stage=name,
            kind=inputs[name].kind,
            digest=inputs[name].digest,
            made_of=tuple(
                (role, makers.get(digest, digest[:SHORT]))
                for role, digest in sorted(inputs[name].inputs.items())
            ),
        )
        for name in order
    )


def settings(inputs: Mapping[str, InputArtifact], order: Sequence[str]) -> tuple[Settings, ...]:
    """Returns the settings of the stages in order; stages with the same ones are one entry."""
    groups: dict[bytes, list[str]] = {}
    for name in order:
        if inputs[name].config:
            groups.setdefault(canonical_json(inputs[name].config), []).append(name)
    return tuple(
        Settings(stages=tuple(names), values=tuple(_flat(inputs[names[0]].config)))
        for names in groups.values()
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif prefix or name != "stage":  # the kind, which is said beside it
            shown = value if isinstance(value, str) else canonical_json(value).decode()
            yield f"{prefix}{name}", shown
