"""Gates of a SelfRewardRun: which figure of which stage stops it."""

from autodidact_contract.api.run import Gate
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs.parts import gate
from autodidact_operator.plan.types import Check


def judging(spec: SelfRewardSpec) -> tuple[Check, ...]:
    """Returns what must hold of the model's scores of its own replies.

    A reward that is implicit has no judgements to read, and no scale that its entropy is on.
    """
    if spec.reward == "implicit":
        return _ties(spec, "use a higher responses.temperature")
    return (
        *gate(
            spec.gates.min_parse_rate,
            reason="JudgeUnreadable",
            figure="share of judgements with a readable score",
            numerator="parsed",
            denominator="judgements",
            at_least=True,
            advice="train the judge (data.evaluations), or raise judge.maxNewTokens if "
            "judgements are cut",
        ),
        *_ties(spec, "use more votes or a higher temperature"),
        *gate(
            spec.gates.min_score_entropy,
            reason="ScoresCollapsed",
            figure="entropy of the votes' scores in nats",
            metric="scoreEntropy",
            at_least=True,
            advice="the judge no longer tells replies apart; stop earlier, or train it "
            "(data.evaluations, metaJudge)",
        ),
    )


def _ties(spec: SelfRewardSpec, advice: str) -> tuple[Check, ...]:
    return gate(
        spec.gates.max_tie_rate,
        reason="TooManyTies",
        figure="share of prompts whose replies all have one score",
        numerator="ties",
        denominator="prompts",
        at_least=False,
        advice=advice,
    )


def pairing(spec: SelfRewardSpec) -> tuple[Check, ...]:
    """Returns what must hold of the pairs; without any there is nothing to learn from."""
    return (
        *gate(
            _some(spec),
            reason="TooFewPairs",
            figure="preference pairs",
            numerator="pairs",
            at_least=True,
            advice="see the drop counters of build-pairs: ties need more votes, unscored "
            "replies a trained judge",
        ),
        *gate(
            spec.gates.min_mean_gap,
            reason="GapTooSmall",
            figure="mean score gap between winners and losers",
            metric="gap",
            at_least=True,
            advice="what is left may be the judge's noise",
        ),
    )


def positives(spec: SelfRewardSpec) -> tuple[Check, ...]:
    """Returns what must hold of the replies with the best score."""
    return gate(
        _some(spec),
        reason="TooFewPositives",
        figure="replies with the best score",
        numerator="positives",
        at_least=True,
        advice="the model seldom gives its own replies the best score; learning dpo needs no such",
    )


def _some(spec: SelfRewardSpec) -> Gate:
    wanted = spec.gates.min_pairs or Gate(limit=1, action="Stop")
    return wanted.model_copy(update={"limit": max(wanted.limit, 1)})


def evaluation(spec: SelfRewardSpec, t: int) -> tuple[Check, ...]:
    """Returns what must hold of M(t+1)."""
    agreement = gate(
        spec.gates.min_judge_accuracy,
        reason="JudgeDisagrees",
        figure="pairwise accuracy of the judge on the held-out rankings",
        metric="pairwiseAccuracy",
        at_least=True,
        advice="more or better data.evaluations",
    )
    if t == 0:
        return agreement
    return (
        *agreement,
        *gate(
            spec.gates.max_length_ratio,
            reason="RepliesTooLong",
            figure="length of the replies, divided by that of M1's",
            metric="lengthRatio",
            at_least=False,
            rejects=True,
            advice="the judge may like length; see pairs.rho and pairs.maxChosenLength",
        ),
        *gate(
            spec.gates.min_gain,
            reason="NoGain",
            figure="share of battles won against the model before minus that of lost ones",
            metric="gain",
            at_least=True,
            rejects=True,
            advice="the model before is kept",
        ),
    )


def waits(spec: SelfRewardSpec) -> bool:
    """Returns whether a round waits for the evaluation of the model it starts from."""
    gates = spec.gates
    return bool(gates.min_judge_accuracy or gates.max_length_ratio or gates.min_gain)
