"""What became of ranked conversation trees, and which held-out prompts are in other data as well."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autodidact_worker.runtime.frame import InputArtifact

DROPS = (
    *("unprompted", "other-language", "foreign-replies", "deleted", "orphans", "cycles"),
    *("unanswered", "unranked", "duplicates"),
)
"""Trees and messages that nothing was made of, as ``trees.first_turns`` counts them."""
_PARTS = {
    "build-instructions": "instructions",
    "build-ranked": "to be judged",
    "build-heldout": "held out",
    "build-validation": "validation",
}


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Judgements of people's ranked replies.

    Attributes:
        prompts: Ranked prompts that were judged.
        accepted: Of these, with judgements in people's order.
        rejected: The others by reason.
        before: Judgements by score before rebalancing.
        after: The same after it.
    """

    prompts: int
    accepted: int
    rejected: Mapping[str, int]
    before: Mapping[float, int]
    after: Mapping[float, int]


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Ranked conversation trees.

    Attributes:
        trees: How many there were.
        prompts: First prompts that could be used.
        dropped: Trees, prompts or messages that could not, by reason.
        parts: Rows by what they are for.
    """

    trees: int
    prompts: int
    dropped: Mapping[str, int]
    parts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Held-out prompts that are in other data as well.

    Attributes:
        prompts: Different held-out prompts.
        overlap: Of these, in any other data.
        by_data: The same by data set; one prompt may be in several.
    """

    prompts: int
    overlap: int
    by_data: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What the run began with; None where there is no such stage."""

    judgements: Judgements | None = None
    trees: Trees | None = None
    overlap: Overlap | None = None


def read(inputs: Mapping[str, InputArtifact]) -> Seed:
    """Returns what the stages before M1 counted.

    Args:
        inputs: Finished stages by their name in the run's graph.
    """
    built, compared = inputs.get("build-eft"), inputs.get("compare-prompts")
    return Seed(
        judgements=_judgements(built) if built else None,
        trees=_trees(inputs),
        overlap=_overlap(compared) if compared else None,
    )


def those(artifact: InputArtifact, prefix: str, but: str = "") -> dict[str, int]:
    """Returns the counts that begin so and are not zero, the largest first."""
    found = {
        name.removeprefix(prefix): count
        for name, count in artifact.counts.items()
        if name.startswith(prefix) and count and not (but and name.startswith(but))
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def scores(artifact: InputArtifact, prefix: str) -> dict[float, int]:
    """Returns the counts whose names are a prefix and a score, by score."""
    return dict(sorted((float(name), n) for name, n in those(artifact, prefix).items()))


def _judgements(artifact: InputArtifact) -> Judgements:
    return Judgements(
        prompts=artifact.counts.get("prompts", 0),
        accepted=artifact.counts.get("accepted", 0),
        rejected=those(artifact, "rejected-"),
        before=scores(artifact, "before-"),
        after=scores(artifact, "after-"),
    )


def _trees(inputs: Mapping[str, InputArtifact]) -> Trees | None:
    parts = {name: inputs[name].counts for name in _PARTS if name in inputs}
    if not parts:
        return None
    counts = next(iter(parts.values()))  # of the trees, so that all parts count the same
    return Trees(
        trees=counts.get("trees", 0),
        prompts=counts.get("prompts", 0),
        dropped={name: counts[name] for name in DROPS if counts.get(name)},
        parts={_PARTS[name]: found.get("rows", 0) for name, found in parts.items()},
    )


def _overlap(artifact: InputArtifact) -> Overlap:
    prefix = "overlap-"
    return Overlap(
        prompts=artifact.counts.get("prompts", 0),
        overlap=artifact.counts.get("overlap", 0),
        by_data={
            name.removeprefix(prefix): count
            for name, count in sorted(artifact.counts.items())
            if name.startswith(prefix)
        },
    )
