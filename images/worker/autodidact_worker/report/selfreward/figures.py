"""What the finished stages measured, by round and by model. Any of them may be missing.

Round t makes M(t+1) out of M(t): M(t) writes and judges replies, pairs are built, DPO trains.
Model M(t) is measured by the stage ``evaluate-<t-1>``.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from autodidact_contract.records import Battle, Judged, Pair
from autodidact_worker.report import curves
from autodidact_worker.report.curves import Curve
from autodidact_worker.report.selfreward import options
from autodidact_worker.report.selfreward.options import Options
from autodidact_worker.report.shares import Interval, wilson
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import InputArtifact

DROPS = {
    "dropped-tie": "equal scores",
    "dropped-gap": "gap too small",
    "dropped-unscored": "no score",
    "dropped-truncated": "cut by length",
    "dropped-too-long": "winner too long",
    "dropped-identical": "same text",
}
JUDGE_METRICS = {
    "pairwiseAccuracy": "pairwise accuracy",
    "fiveBest": "5-best",
    "exactMatch": "exact match",
    "spearman": "Spearman",
    "kendall": "Kendall",
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prompt of a round with its judged replies.

    Attributes:
        replies: The judged replies.
        chosen: Id of the reply that became the chosen side of a pair; empty without a pair.
        rejected: Id of the other side.
    """

    prompt: str
    replies: tuple[Judged, ...]
    chosen: str = ""
    rejected: str = ""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round; figures are None where their stage did not finish.

    Attributes:
        number: 1 for the round that makes M2.
        accepted: New prompts.
        first_words: Different first words among them.
        rouge_max: Mean of each new prompt's largest ROUGE-L against all others.
        responses: Sampled replies.
        truncated: Of these, cut by length.
        characters: Mean length of a reply.
        judgements: Votes asked for.
        parsed: Votes with a readable score.
        tied_prompts: Judged prompts whose replies all have the same score.
        judged_prompts: Judged prompts.
        score: Mean score of the replies.
        spread: Mean spread of the scores of one prompt's replies.
        histogram: Replies by half points of their mean score.
        prompts: Prompts that pairs were looked for in.
        pairs: Pairs found.
        dropped: Prompts without a pair by reason.
        gap: Mean score of chosen minus that of rejected replies.
        chosen_length: Mean characters of chosen replies.
        rejected_length: Mean characters of rejected replies.
        samples: Some prompts to look at.
        options: What options that are off by default did.
    """

    number: int
    accepted: int | None = None
    first_words: int | None = None
    rouge_max: float | None = None
    responses: int | None = None
    truncated: int | None = None
    characters: float | None = None
    judgements: int | None = None
    parsed: int | None = None
    tied_prompts: int | None = None
    judged_prompts: int | None = None
    score: float | None = None
    spread: float | None = None
    histogram: Mapping[float, int] = field(default_factory=dict)
    prompts: int | None = None
    pairs: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    gap: float | None = None
    chosen_length: float | None = None
    rejected_length: float | None = None
    samples: tuple[Sample, ...] = ()
    options: Options = field(default_factory=Options)

    @property
    def parse_rate(self) -> float | None:
        """Share of votes with a readable score."""
        return _ratio(self.parsed, self.judgements)

    @property
    def tie_rate(self) -> float | None:
        """Share of prompts whose replies all have the same score."""
        return _ratio(self.tied_prompts, self.judged_prompts)

    @property
    def diversity(self) -> float | None:
        """Different first words for each new prompt."""
        return _ratio(self.first_words, self.accepted)


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of the chain and what its evaluation found.

    Attributes:
        number: 1 for M1.
        stage: Stage that made it.
        digest: Digest of its artifact; empty if it is not there.
        origin: The artifact that it is, where another run made it; else empty.
        quality: Mean of the task's own measure of sampled replies, where there is one.
        greedy_quality: The same of greedy replies.
        reply_length: Mean characters of its replies to held-out prompts.
        battles: Wins, draws and losses against its predecessor.
        judge: Reward-modelling metrics by name.
        counts: What its evaluation counted (skipped prompts and the like).
        tie_rate: Share of held-out pairs to which the judge gave equal scores.
        evaluated: Whether the evaluation finished.
    """

    number: int
    stage: str
    digest: str = ""
    origin: str = ""
    quality: float | None = None
    greedy_quality: float | None = None
    reply_length: float | None = None
    battles: Mapping[str, int] = field(default_factory=dict)
    judge: Mapping[str, float | None] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    tie_rate: float | None = None
    evaluated: bool = False

    @property
    def name(self) -> str:
        """The paper's name of the model."""
        return f"M{self.number}"

    @property
    def previous(self) -> str:
        """The paper's name of the model that it was trained from."""
        return f"M{self.number - 1}"

    @property
    def wins(self) -> Interval | None:
        """Share of battles won."""
        return wilson(self.battles.get("win", 0), sum(self.battles.values()))

    @property
    def decided(self) -> Interval | None:
        """Share of wins among the battles that were not drawn."""
        won, lost = self.battles.get("win", 0), self.battles.get("loss", 0)
        return wilson(won, won + lost)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All that the page shows.

    Attributes:
        rounds: Rounds with at least one finished stage, in order.
        models: Models with a finished training or evaluation, in order.
        curves: Training logs in order.
        stages: Names of all finished stages, in order of the run.
        notes: What could not be read, in sentences.
    """

    rounds: tuple[Round, ...]
    models: tuple[Model, ...]
    curves: tuple[Curve, ...]
    stages: tuple[str, ...]
    notes: tuple[str, ...]


_ORIGIN = "import-origin"
_ORDER = (
    _ORIGIN,
    "train-sft",
    "sample",
    "generate-prompts",
    "generate-responses",
    "judge",
    "generate-anchors",
    "judge-anchors",
    "judge-by-previous",
    "build-pairs",
    "meta-judge",
    "build-judge-pairs",
    "build-positives",
    "train-dpo",
    "train-positive",
    "evaluate",
)
_TRAININGS = ("train-sft", "train-dpo", "train-positive")


def collect(inputs: Mapping[str, InputArtifact], samples: int = 4) -> Figures:
    """Returns the figures of whatever stages there are.

    Args:
        inputs: Finished stages by their name in the run's graph.
        samples: Prompts to keep of each round.
    """
    notes: list[str] = []
    names = sorted(inputs, key=_position)
    rounds = sorted({_number(name) for name in names if _kind(name) in _ORDER[2:-1]})
    return Figures(
        rounds=tuple(_round(inputs, number, samples, notes) for number in rounds),
        models=tuple(_model(inputs, number, notes) for number in _models(names)),
        curves=tuple(
            curve
            for name in names
            if _kind(name) in _TRAININGS and (curve := curves.read(name, inputs[name], notes))
        ),
        stages=tuple(names),
        notes=tuple(notes),
    )


def _kind(name: str) -> str:
    return re.sub(r"-\d+$", "", name)


def _number(name: str) -> int:
    found = re.search(r"-(\d+)$", name)
    return int(found[1]) if found else 0


def _position(name: str) -> tuple[int, int, str]:
    kind = _kind(name)
    return _number(name), _ORDER.index(kind) if kind in _ORDER else len(_ORDER), name


def _models(names: list[str]) -> list[int]:
    """Returns the numbers of the models that were trained or measured."""
    wanted = (_ORIGIN, *_TRAININGS, "evaluate")
    return sorted({_number(name) + 1 for name in names if _kind(name) in wanted})


def _round(
    inputs: Mapping[str, InputArtifact], number: int, samples: int, notes: list[str]
) -> Round:
    written = inputs.get(f"generate-prompts-{number}", _NOTHING)
    answered = inputs.get(f"generate-responses-{number}", _NOTHING)
    judged = inputs.get(f"judge-{number}", _NOTHING)
    paired = inputs.get(f"build-pairs-{number}", _NOTHING)
    scores, chosen = Counter[float](), tuple[Sample, ...]()
    try:
        scores, chosen = _judged(judged, _pairs(paired), samples)
    except UserError as error:
        notes.append(f"Round {number}: {error}")
    return Round(
        number=number,
        accepted=written.counts.get("accepted"),
        first_words=written.counts.get("first-words"),
        rouge_max=written.metrics.get("rougeMax"),
        responses=answered.counts.get("responses"),
        truncated=answered.counts.get("truncated"),
        characters=answered.metrics.get("characters"),
        judgements=judged.counts.get("judgements"),
        # A count that is zero is left out by its maker.
        parsed=judged.counts.get("parsed", 0) if judged.counts else None,
        tied_prompts=judged.counts.get("ties", 0) if judged.counts else None,
        judged_prompts=judged.counts.get("prompts"),
        score=judged.metrics.get("score"),
        spread=judged.metrics.get("spread"),
        histogram=scores,
        prompts=paired.counts.get("prompts"),
        pairs=paired.counts.get("pairs"),
        dropped={
            DROPS.get(name, name.removeprefix("dropped-")): count
            for name, count in paired.counts.items()
            if name.startswith("dropped-") and count
        },
        gap=paired.metrics.get("gap"),
        chosen_length=paired.metrics.get("chosenLength"),
        rejected_length=paired.metrics.get("rejectedLength"),
        samples=chosen,
        options=options.read(inputs, number),
    )


_NOTHING = InputArtifact(path=Path())


def _judged(
    artifact: InputArtifact, pairs: Mapping[str, Pair], samples: int
) -> tuple[Counter[float], tuple[Sample, ...]]:
    """Returns the histogram of all scores, and samples from the first part."""
    scores: Counter[float] = Counter()
    chosen: tuple[Sample, ...] = ()
    if artifact is _NOTHING:
        return scores, chosen
    for part, found in rows.read_parts(artifact.path, "judged", Judged):
        scores.update(round(row.score * 2) / 2 for row in found if row.score is not None)
        if part == 0:
            chosen = _samples(found, pairs, samples)
    return scores, chosen


def _pairs(artifact: InputArtifact) -> dict[str, Pair]:
    """Returns pairs by prompt: those of the first part, which the samples come from."""
    if artifact is _NOTHING:
        return {}
    # Pairs keep the order of prompts and are never more, so these are all that can be needed.
    _, found = next(rows.read_parts(artifact.path, "pairs", Pair))
    return {pair.prompt_id: pair for pair in found}


def _samples(found: list[Judged], pairs: Mapping[str, Pair], count: int) -> tuple[Sample, ...]:
    """Returns prompts with a pair; one without, if there is one, comes second."""
    groups = [tuple(group) for _, group in groupby(found, key=lambda row: row.prompt_id)]
    with_pair = [group for group in groups if group[0].prompt_id in pairs]
    without = [group for group in groups if group[0].prompt_id not in pairs]
    ordered = [*with_pair[:1], *without[:1], *with_pair[1:], *without[1:]]
    return tuple(_sample(group, pairs.get(group[0].prompt_id)) for group in ordered[:count])


def _sample(group: tuple[Judged, ...], pair: Pair | None) -> Sample:
    if pair and pair.rejected_id not in {row.id for row in group}:
        loser = {"id": pair.rejected_id, "text": pair.rejected, "score": pair.rejected_score}
        # M1's, whose votes are in another artifact.
        group = (*group, group[0].model_copy(update={**loser, "finish": "stop", "votes": ()}))
    return Sample(
        prompt=group[0].prompt,
        replies=group,
        chosen=pair.chosen_id if pair else "",
        rejected=pair.rejected_id if pair else "",
    )


def _model(inputs: Mapping[str, InputArtifact], number: int, notes: list[str]) -> Model:
    stage = _maker(inputs, number)
    origin = inputs[stage].config.get("uri", "") if stage == _ORIGIN else ""
    name = f"evaluate-{number - 1}"
    measured = inputs.get(name, _NOTHING)
    battles: Mapping[str, int] = {}
    try:
        battles = _battles(measured)
    except UserError as error:
        notes.append(f"{name}: {error}")
    return Model(
        number=number,
        stage=stage,
        digest=inputs[stage].digest if stage in inputs else "",
        origin=origin.removeprefix("artifact://"),
        quality=measured.metrics.get("quality"),
        greedy_quality=measured.metrics.get("greedyQuality"),
        reply_length=measured.metrics.get("replyLength"),
        battles=battles,
        judge={metric: measured.metrics.get(metric) for metric in JUDGE_METRICS},
        counts=measured.counts,
        tie_rate=measured.metrics.get("tieRate"),
        evaluated=measured is not _NOTHING,
    )


def _maker(inputs: Mapping[str, InputArtifact], number: int) -> str:
    """Returns the stage that made M(number), or was to make it."""
    if number == 1:
        return _ORIGIN if _ORIGIN in inputs else "train-sft"
    positive = f"train-positive-{number - 1}"
    return positive if positive in inputs else f"train-dpo-{number - 1}"


def _battles(artifact: InputArtifact) -> dict[str, int]:
    if artifact is _NOTHING or not any(artifact.path.glob("battles-*.jsonl")):
        return {}
    results = Counter(
        row.result
        for _, part in rows.read_parts(artifact.path, "battles", Battle)
        for row in part
        if row.opponent == "previous"
    )
    return {name: results[name] for name in ("win", "tie", "loss")} if results else {}


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
