"""What a round owes to options that are off by default: what followers of the paper added."""

from collections.abc import Mapping
from dataclasses import dataclass

from autodidact_worker.runtime.frame import InputArtifact

SCORERS = {
    "judge": "the model's judgements",
    "implicit-reward": "DPO's implicit reward",
    "sample": "whether the answer is right",
}
"""What gives the scores, by the kind of the stage."""

JUDGE_DROPS = {
    "dropped-tie": "no better one",
    "dropped-identical": "same text",
    "dropped-too-long": "winner too long",
    "dropped-score-share": "score too common",
    "dropped-share": "share of all pairs",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """One round; figures are None where their option is off or its stage did not finish.

    Attributes:
        scorer: What gave the replies their scores.
        anchored: Pairs whose loser is a reply of M1.
        length_controlled: Pairs that length control made other ones.
        consistency: How far the model and the one before rank replies alike, 0 to 1.
        undefined: Prompts in which they cannot be compared.
        battles: Comparisons of two judgements, each in both orders.
        unreadable: Verdicts on them that cannot be read.
        first_preferred: Share of decided verdicts for the judgement shown first.
        higher_preferred: Share of them for the higher score, where scores differ.
        judge_pairs: Pairs of judgements.
        judge_dropped: Prompts without one by reason.
        positives: Replies with the best score that became instructions.
    """

    scorer: str | None = None
    anchored: int | None = None
    length_controlled: int | None = None
    consistency: float | None = None
    undefined: int | None = None
    battles: int | None = None
    unreadable: int | None = None
    first_preferred: float | None = None
    higher_preferred: float | None = None
    judge_pairs: int | None = None
    judge_dropped: Mapping[str, int] | None = None
    positives: int | None = None

    @property
    def used(self) -> bool:
        """Whether the round is any other than the paper's."""
        return self != Options(scorer=self.scorer) or self.scorer not in (None, SCORERS["judge"])


def read(inputs: Mapping[str, InputArtifact], number: int) -> Options:
    """Returns what the options did in a round.

    Args:
        inputs: Finished stages by name.
        number: Of the round.
    """
    paired = inputs.get(f"build-pairs-{number}")
    compared = inputs.get(f"meta-judge-{number}")
    built = inputs.get(f"build-judge-pairs-{number}")
    positives = inputs.get(f"build-positives-{number}")
    scored = inputs.get(f"judge-{number}") or inputs.get(f"sample-{number}")
    return Options(
        scorer=SCORERS.get(scored.kind) if scored else None,
        # What counts nothing says nothing: whether the option is on is not told otherwise.
        anchored=paired.counts.get("anchored") or None if paired else None,
        length_controlled=paired.counts.get("length-controlled") or None if paired else None,
        consistency=paired.metrics.get("consistency") if paired else None,
        undefined=paired.counts.get("undefined-agreement") if paired else None,
        battles=compared.counts.get("battles") if compared else None,
        unreadable=compared.counts.get("verdicts-unreadable") if compared else None,
        first_preferred=compared.metrics.get("firstPreferred") if compared else None,
        higher_preferred=compared.metrics.get("higherPreferred") if compared else None,
        judge_pairs=built.counts.get("pairs") if built else None,
        judge_dropped={
            reason: built.counts[name]
            for name, reason in JUDGE_DROPS.items()
            if built.counts.get(name)
        }
        if built
        else None,
        positives=positives.counts.get("positives") if positives else None,
    )
