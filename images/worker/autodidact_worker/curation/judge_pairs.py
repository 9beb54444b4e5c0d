"""Preference pairs of judgements: best and worst judgement of a reply, by their battles. Pure.

Source: arXiv 2407.19594 section 2.2; see ``judging.meta``.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import JudgedJudgements, Pair
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_worker.judging import judgement, meta, rubrics


def pair(
    row: JudgedJudgements, config: BuildJudgePairs, weight: tuple[float, float]
) -> tuple[Pair, float] | str:
    """Returns the best and the worst judgement of a reply and the best one's score, or a reason.

    Args:
        row: The reply with its judgements and their battles.
        config: Seed, rubric, and length of a winner.
        weight: Of a win in the first and in the second position.
    """
    found = meta.ratings(row.battles, weight)
    ends = meta.best_and_worst(found, lambda vote: meta.draw(config.seed, f"{row.id}/{vote}"))
    if ends is None:
        return "tie"
    best, worst = (row.votes[end] for end in ends)
    if best.text.strip() == worst.text.strip():
        return "identical"
    if len(best.text) > config.max_chosen_length:
        return "too-long"
    rubric = rubrics.get(config.rubric)
    made = Pair(
        prompt_id=row.prompt_id,
        prompt=judgement.render(rubric, row.prompt, row.text),
        chosen=best.text,
        rejected=worst.text,
        chosen_id=f"{row.id}/{ends[0]}",
        rejected_id=f"{row.id}/{ends[1]}",
        chosen_score=found[ends[0]],
        rejected_score=found[ends[1]],
    )
    assert best.score is not None  # only readable judgements meet
    return made, best.score


def capped(
    found: list[tuple[Pair, float]], config: BuildJudgePairs, counts: Counter[str]
) -> list[tuple[Pair, float]]:
    """Returns the pairs that both shares leave, in their order, and counts the others."""
    groups: dict[float, list[str]] = defaultdict(list)
    for made, score in found:
        groups[score].append(made.chosen_id)
    even = meta.capped(groups, config.max_score_share, config.seed)
    # So many that they are the share of themselves and the pairs of replies.
    most = int(counts["reply-pairs"] * config.max_share / (1 - config.max_share) + 1e-9)
    kept = set(meta.sample(even, most, config.seed))
    counts["dropped-score-share"] = len(found) - len(even)
    counts["dropped-share"] = len(even) - len(kept)
    return [one for one in found if one[0].chosen_id in kept]


def metrics(kept: Sequence[tuple[Pair, float]]) -> dict[str, Mean]:
    """Returns the means over the pairs that are kept, given with their winners' scores."""

    def mean(values: list[float]) -> Mean:
        return Mean(total=sum(values), weight=float(len(values)))

    pairs = [made for made, _ in kept]
    return {
        "gap": mean([made.chosen_score - made.rejected_score for made in pairs]),
        "chosenLength": mean([float(len(made.chosen)) for made in pairs]),
        "rejectedLength": mean([float(len(made.rejected)) for made in pairs]),
        "chosenScore": mean([score for _, score in kept]),
    }
