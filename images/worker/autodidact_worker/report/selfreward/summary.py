"""The tables of a Self-Rewarding run for programs."""

from dataclasses import asdict
from typing import Any

from autodidact_worker.report.selfreward.figures import Figures
from autodidact_worker.report.selfreward.options import Options
from autodidact_worker.report.shares import Interval


def of(figures: Figures) -> dict[str, Any]:
    """Returns the tables of the page as plain JSON types; texts of models are not in it."""
    return {
        "models": [
            {
                "name": model.name,
                "stage": model.stage,
                "digest": model.digest,
                "origin": model.origin,
                "quality": model.quality,
                "greedyQuality": model.greedy_quality,
                "replyLength": model.reply_length,
                "battles": dict(model.battles),
                "winRate": _interval(model.wins),
                "decidedWinRate": _interval(model.decided),
                "judge": dict(model.judge),
                "tieRate": model.tie_rate,
            }
            for model in figures.models
        ],
        "rounds": [
            {
                "round": one.number,
                "newPrompts": one.accepted,
                "responses": one.responses,
                "truncated": one.truncated,
                "meanLength": one.characters,
                "parseRate": one.parse_rate,
                "tieRate": one.tie_rate,
                "meanScore": one.score,
                "prompts": one.prompts,
                "pairs": one.pairs,
                "dropped": dict(one.dropped),
                "meanGap": one.gap,
                "histogram": {f"{score:g}": n for score, n in sorted(one.histogram.items())},
                "options": _options(one.options),
            }
            for one in figures.rounds
        ],
    }


def _options(value: Options) -> dict[str, Any]:
    """Returns what options did, None where they are off."""
    return {
        "scorer": value.scorer,
        "anchored": value.anchored,
        "lengthControlled": value.length_controlled,
        "consistency": value.consistency,
        "undefinedAgreement": value.undefined,
        "judgementBattles": value.battles,
        "unreadableVerdicts": value.unreadable,
        "firstPreferred": value.first_preferred,
        "higherPreferred": value.higher_preferred,
        "judgePairs": value.judge_pairs,
        "judgePairsDropped": value.judge_dropped,
        "positives": value.positives,
    }


def _interval(value: Interval | None) -> dict[str, Any] | None:
    return asdict(value) if value else None
