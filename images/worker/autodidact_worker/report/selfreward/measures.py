"""What was measured around the rounds, in tables of its own. Any stage may be missing.

Battles with each opponent, lengths of replies, variety of new prompts, health of the judge, the
choice of checkpoints; what the run began with is in ``seeds``.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autodidact_contract.artifacts import VOTES
from autodidact_contract.records import Battle
from autodidact_contract.stages.judging import OPPONENTS
from autodidact_worker.report import curves
from autodidact_worker.report.selfreward import seeds
from autodidact_worker.report.selfreward.seeds import Seed
from autodidact_worker.report.shares import Interval, wilson
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import InputArtifact

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the quantiles of lengths."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Battles of a model with one opponent.

    Attributes:
        model: Who met it.
        opponent: What the page calls it.
        win: Battles won.
        tie: Battles drawn.
        loss: Battles lost.
        invalid: Verdicts that could not be read; a battle has up to two.
    """

    model: str
    opponent: str
    win: int
    tie: int
    loss: int
    invalid: int

    @property
    def n(self) -> int:
        """Battles."""
        return self.win + self.tie + self.loss

    @property
    def won(self) -> Interval | None:
        """Share of battles won."""
        return wilson(self.win, self.n)

    @property
    def lost(self) -> Interval | None:
        """Share of battles lost."""
        return wilson(self.loss, self.n)

    @property
    def decided(self) -> Interval | None:
        """Share of wins among the battles that were not drawn."""
        return wilson(self.win, self.win + self.loss)

    @property
    def gain(self) -> float:
        """Share of battles won minus that of battles lost."""
        return (self.win - self.loss) / self.n


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Characters of a model's replies to the held-out prompts.

    Attributes:
        model: Whose.
        n: Replies.
        mean: Their mean length.
        quantiles: For each of ``SHARES`` the shortest length that so many do not exceed.
        ratio: Mean length divided by that of M1's.
    """

    model: str
    n: int
    mean: float
    quantiles: tuple[int, ...]
    ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewPrompts:
    """The new prompts of a round.

    Attributes:
        number: Of the round.
        accepted: Prompts.
        attempted: Completions they were taken from.
        rejected: The other completions by reason.
        distinct1: Share of different words among all words.
        distinct2: Share of different pairs of neighbours.
        rouge_mean: Mean of each prompt's largest ROUGE-L to any other.
        rouge_max: The largest of these.
    """

    number: int
    accepted: int | None
    attempted: int | None
    rejected: Mapping[str, int]
    distinct1: float | None
    distinct2: float | None
    rouge_mean: float | None
    rouge_max: float | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """The votes of a model as a judge.

    Attributes:
        name: Which votes.
        votes: How many were asked for.
        parsed: Of these, with a readable score.
        unreadable: The others by reason.
        scores: Readable votes by score.
        entropy: Of the scores, in nats.
    """

    name: str
    votes: int
    parsed: int
    unreadable: Mapping[str, int]
    scores: Mapping[float, int]
    entropy: float | None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Battles of a checkpoint with the best one before it."""

    step: int
    wins: int
    ties: int
    losses: int

    @property
    def gain(self) -> float:
        """Share of battles won minus that of battles lost."""
        return (self.wins - self.losses) / (self.wins + self.ties + self.losses)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The checkpoints of a training.

    Attributes:
        number: Of the round.
        kept: Step of the one that is the result; 0 is the model that training started from.
        invalid: Verdicts that could not be read.
        checks: In order.
    """

    number: int
    kept: int | None
    invalid: int | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All tables, each empty where nothing was measured; notes are what could not be read."""

    meetings: tuple[Meeting, ...]
    lengths: tuple[Lengths, ...]
    prompts: tuple[NewPrompts, ...]
    health: tuple[Health, ...]
    choices: tuple[Choice, ...]
    seed: Seed
    notes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Returns the tables as plain JSON types; texts of models are not in them."""
        found = asdict(self)
        for health in found["health"]:
            health["scores"] = {f"{score:g}": n for score, n in health["scores"].items()}
        if judged := found["seed"]["judgements"]:
            for name in ("before", "after"):
                judged[name] = {f"{score:g}": n for score, n in judged[name].items()}
        del found["notes"]
        return found


def collect(inputs: Mapping[str, InputArtifact]) -> Measures:
    """Returns what the finished stages measured.

    Args:
        inputs: Finished stages by their name in the run's graph.
    """
    notes: list[str] = []
    battles: dict[int, list[Battle]] = {}
    for number, artifact in _numbered(inputs, "evaluate"):
        try:
            battles[number + 1] = list(_battles(artifact))
        except UserError as error:
            notes.append(f"evaluate-{number}: {error}")
    choices = tuple(_choices(inputs))
    return Measures(
        meetings=tuple(one for model, found in battles.items() for one in _meetings(model, found)),
        lengths=tuple(_lengths(battles, inputs)),
        prompts=tuple(_prompts(n, one) for n, one in _numbered(inputs, "generate-prompts")),
        health=tuple(
            health
            for kind, name in (("evaluate", "on people's replies"), ("judge", "on own replies"))
            for number, one in _numbered(inputs, kind)
            if (health := _health(f"M{number + (kind == 'evaluate')} {name}", one))
        ),
        choices=choices,
        seed=seeds.read(inputs),
        notes=tuple(notes),
    )


def _numbered(
    inputs: Mapping[str, InputArtifact], kind: str
) -> Iterator[tuple[int, InputArtifact]]:
    """Yields the stages ``<kind>-<number>`` by number."""
    found = [(re.fullmatch(rf"{kind}-(\d+)", name), one) for name, one in inputs.items()]
    yield from sorted(
        ((int(match[1]), one) for match, one in found if match), key=lambda item: item[0]
    )


def _battles(artifact: InputArtifact) -> Iterator[Battle]:
    if any(artifact.path.glob("battles-*.jsonl")):
        for _, part in rows.read_parts(artifact.path, "battles", Battle):
            yield from part


def _meetings(model: int, battles: Sequence[Battle]) -> Iterator[Meeting]:
    names = {"previous": f"M{model - 1}", "first": "M1", "baseline": "SFT on instructions"}
    for opponent in OPPONENTS:
        met = [battle for battle in battles if battle.opponent == opponent]
        results = Counter(battle.result for battle in met)
        # The predecessor of M2 is M1: one line says both.
        if met and not (opponent == "first" and model == 2 and battles[0].opponent == "previous"):
            yield Meeting(
                model=f"M{model}",
                opponent=names[opponent],
                win=results["win"],
                tie=results["tie"],
                loss=results["loss"],
                invalid=sum(battle.verdicts.count("invalid") for battle in met),
            )


def _lengths(
    battles: Mapping[int, Sequence[Battle]], inputs: Mapping[str, InputArtifact]
) -> Iterator[Lengths]:
    """Yields the models whose replies were written down; M1's are those that others met."""
    told = {
        model: {battle.prompt_id: len(battle.ours) for battle in found}
        for model, found in battles.items()
    }
    if not told.get(1):
        told[1] = {
            battle.prompt_id: len(battle.theirs)
            for found in battles.values()
            for battle in found
            if battle.opponent == "first"
        }
    for model, found in sorted(told.items()):
        if found:
            ordered = sorted(found.values())
            measured = inputs.get(f"evaluate-{model - 1}")
            yield Lengths(
                model=f"M{model}",
                n=len(ordered),
                mean=sum(ordered) / len(ordered),
                quantiles=tuple(ordered[math.ceil(s * len(ordered)) - 1] for s in SHARES),
                ratio=measured.metrics.get("lengthRatio") if measured else None,
            )


def _prompts(number: int, artifact: InputArtifact) -> NewPrompts:
    return NewPrompts(
        number=number,
        accepted=artifact.counts.get("accepted"),
        attempted=artifact.counts.get("attempted"),
        rejected=seeds.those(artifact, "rejected-"),
        distinct1=artifact.metrics.get("distinct1"),
        distinct2=artifact.metrics.get("distinct2"),
        rouge_mean=artifact.metrics.get("rougeMax"),
        rouge_max=artifact.metrics.get("rougeHighest"),
    )


def _health(name: str, artifact: InputArtifact) -> Health | None:
    votes = artifact.counts.get("judgements", 0)
    if not votes:
        return None
    return Health(
        name=name,
        votes=votes,
        parsed=artifact.counts.get("parsed", 0),  # a count that is zero is left out
        unreadable=seeds.those(artifact, "invalid-", but="invalid-verdicts"),
        scores=seeds.scores(artifact, VOTES),
        entropy=artifact.metrics.get("scoreEntropy"),
    )


def _choices(inputs: Mapping[str, InputArtifact]) -> Iterator[Choice]:
    for number, artifact in _numbered(inputs, "train-dpo"):
        log = curves.read(f"train-dpo-{number}", artifact, [])  # the figures note what is amiss
        checks = tuple(
            Check(
                step=int(row["step"]),
                wins=int(row["wins"]),
                ties=int(row["ties"]),
                losses=int(row["losses"]),
            )
            for row in (log.rows if log else ())
            if {"step", "wins", "ties", "losses"} <= row.keys()
            if row["wins"] + row["ties"] + row["losses"] > 0
        )
        if checks:
            kept, invalid = artifact.counts.get("keptStep"), artifact.counts.get("invalid-verdicts")
            yield Choice(number=number, kept=kept, invalid=invalid, checks=checks)
