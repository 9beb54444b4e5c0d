"""The arms of the self-rewarding toy. Round t makes M(t+1) of M(t)."""

from collections.abc import Callable

from autodidact_worker.toys.copying import HELD_OUT_ROWS
from tools.demo.arms import Arm, Claim, Row, Value, minus
from tools.demo.outcome import Outcome

MANIFEST = "selfreward-toy.yaml"
ROUNDS = 4
"""At most: where a model copies well its judge has nothing to tell apart, and a gate ends the run."""

FEW = 60
"""Pairs of 600 prompts: below a tenth, what is left is mostly the judge's noise."""

GAIN = 0.8
"""By how much M2's quality must be above M1's, of 5."""

WON = 0.4
"""Share of M3's battles with M1 that must be won, minus that of lost ones."""

KEPT = 0.05
"""What a later model may lose in quality, and the last one in accuracy as a judge."""

READABLE = 0.98
"""Share of readable judgements in every round."""

BASIS = (
    f"{HELD_OUT_ROWS} held-out prompts; replies are sampled, quality is the oracle's, from 0 to 5. M(t+1) "
    "is the last model of round t: nothing chose it"
)

LONGER = 0.01
"""What counts as a difference between ratios of lengths."""

SHORTER = {"rho": [0.4]}
_LENGTHY = {
    "model": {"uri": "toy://selfreward-lengthy/model"},
    "data": {
        "instructions": {"uri": "toy://selfreward-lengthy/instructions"},
        "evaluations": {"uri": "toy://selfreward-lengthy/evaluations"},
        "heldOut": {"uri": "toy://selfreward-lengthy/heldout"},
    },
    "iterations": 1,
    "dpo": {"epochs": 4},
}
"""In one pass the length of replies hardly moves, whoever judges."""


def _of_models(what: str, value: Callable[[Outcome, str], Value]) -> tuple[Row, ...]:
    return tuple(
        (f"{name}, {what}", lambda found, name=name: value(found, name))
        for name in (f"M{number}" for number in range(1, ROUNDS + 2))
    )


def _of_rounds(what: str, name: str) -> tuple[Row, ...]:
    return tuple(
        (f"round {t}, {what}", lambda found, t=t: found.round(t, name))
        for t in range(1, ROUNDS + 1)
    )


def _battles(found: Outcome, model: str) -> str | None:
    met = found.battles(model)
    return " / ".join(map(str, met)) if met else None


GROUPS: tuple[tuple[Row, ...], ...] = (
    _of_models("quality", lambda found, name: found.figure(name, "quality")),
    _of_models("win / tie / loss against M1", _battles),
    _of_models("won - lost against M1", Outcome.gain),
    _of_models("accuracy as a judge", lambda found, name: found.figure(name, "judge_accuracy")),
    _of_rounds("readable judgements", "parseRate"),
    _of_rounds("pairs", "pairs"),
    _of_rounds("score gap of pairs", "meanGap"),
    _of_models("characters a reply", lambda found, name: found.lengths(name).get("mean")),
    _of_models("length / M1's", lambda found, name: found.lengths(name).get("ratio")),
    (("end", lambda found: found.reason),),
)
"""What is shown of every arm."""


def _step(figure: str, model: str, before: str) -> Callable[[Outcome, Outcome], float | None]:
    """Returns what takes the difference of a figure between two models of a run."""
    return lambda found, _: minus(found.figure(model, figure), found.figure(before, figure))


def _last(found: Outcome, figure: str) -> float | None:
    """Returns a figure of the last model that has it."""
    known = (found.figure(f"M{number}", figure) for number in range(ROUNDS + 1, 0, -1))
    return next((value for value in known if value is not None), None)


def _fall(name: str) -> Callable[[Outcome, Outcome], float | None]:
    """Returns what takes the difference of a figure between a run's last round and its first."""

    def change(found: Outcome, _: Outcome) -> float | None:
        known = [row[name] for row in found.tables["rounds"] if row[name] is not None]
        return known[-1] - known[0] if len(known) > 1 else None

    return change


def _failed(found: Outcome, _: Outcome) -> float:
    """Returns 1 where a gate failed the run for a judge that cannot be read."""
    return float((found.status.phase, found.reason) == ("Failed", "JudgeUnreadable"))


def _ratio(found: Outcome) -> float | None:
    """Returns the length of M2's replies, divided by that of M1's."""
    return found.lengths("M2").get("ratio")


ARMS = (
    Arm(
        task="selfreward",
        name="full",
        title="Self-rewarding",
        manifest=MANIFEST,
        basis=BASIS,
        changes={"iterations": ROUNDS, "gates": {"minPairs": {"limit": FEW}}},
        groups=GROUPS,
        claims=(
            Claim(what="quality, M2 - M1", value=_step("quality", "M2", "M1"), at_least=GAIN),
            Claim(what="quality, M3 - M2", value=_step("quality", "M3", "M2"), at_least=-KEPT),
            Claim(
                what="accuracy as a judge, last model - M1",
                value=lambda found, _: minus(
                    _last(found, "judge_accuracy"), found.figure("M1", "judge_accuracy")
                ),
                at_least=-KEPT,
            ),
            Claim(
                what="readable judgements, lowest of all rounds",
                value=lambda found, _: found.parse_rate,
                at_least=READABLE,
            ),
            Claim(what="pairs, last round - first", value=_fall("pairs"), at_most=-1),
            Claim(what="score gap, last round - first", value=_fall("meanGap"), at_most=0),
            Claim(
                what="won - lost, M3 against M1",
                value=lambda found, _: found.gain("M3"),
                at_least=WON,
            ),
            Claim(
                what="ended by the gate on pairs",
                value=lambda found, _: float(found.reason == "TooFewPairs"),
                at_least=1,
            ),
        ),
    ),
    Arm(
        task="selfreward",
        name="no-eft",
        title="Control: nobody taught the model to judge",
        manifest=MANIFEST,
        basis=BASIS,
        changes={"data": {"evaluations": None}},
        groups=GROUPS,
        claims=(
            Claim(what="failed by the gate on readable judgements", value=_failed, at_least=1),
            Claim(what="models", value=lambda found, _: len(found.tables["models"]), at_most=1),
        ),
    ),
    Arm(
        task="selfreward",
        name="positive",
        title="Contrast: SFT on the best replies instead of DPO",
        manifest=MANIFEST,
        basis=BASIS,
        changes={"learning": "positive", "iterations": 1},
        groups=GROUPS,
        beside="full",
        claims=(
            Claim(what="quality, M2 - M1", value=_step("quality", "M2", "M1")),
            Claim(
                what="quality of M2, this - by DPO",
                value=lambda found, full: minus(
                    found.figure("M2", "quality"), full.figure("M2", "quality")
                ),
            ),
        ),
    ),
    Arm(
        task="selfreward",
        name="lengthy",
        title="A judge that likes length",
        manifest=MANIFEST,
        basis=BASIS,
        changes=_LENGTHY,
        groups=GROUPS,
        claims=(
            Claim(
                what="length of M2's replies / M1's",
                value=lambda found, _: _ratio(found),
                at_least=1 + LONGER,
            ),
        ),
    ),
    Arm(
        task="selfreward",
        name="lengthy-rho",
        title="The same with length control, rho 0.4",
        manifest=MANIFEST,
        basis=BASIS,
        changes={**_LENGTHY, "pairs": SHORTER},
        groups=GROUPS,
        beside="lengthy",
        claims=(
            Claim(
                what="length ratio, this - without length control",
                value=lambda found, lengthy: minus(_ratio(found), _ratio(lengthy)),
                at_most=-LONGER,
            ),
            Claim(what="quality, M2 - M1", value=_step("quality", "M2", "M1"), at_least=0),
        ),
    ),
)
