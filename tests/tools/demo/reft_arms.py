"""The arms of the ReFT toy: ReFT and SFT continued for the same compute, from one warm-up."""

from autodidact_worker.toys.sums import SIZES
from tools.demo.arms import Arm, Claim, Row, minus
from tools.demo.outcome import Outcome

GAIN = 0.30
"""By how much ReFT's greedy accuracy must be above that of SFT continued, on every seed."""

NO_GAIN = 0.05
"""The same in the control at most, on average: two standard errors on 500 questions."""

BASIS = (
    f"{SIZES['test']} held-out questions, read once, by finished models that {SIZES['validation']} validation "
    "questions chose"
)

LINES = {"warm-up": "warm-up", "sft": "SFT continued", "ppo": "ReFT"}
FIGURES = {"accuracy": "greedy", "vote_accuracy": "vote@8", "rerank_accuracy": "rerank@8"}


def gain(found: Outcome) -> float | None:
    """Returns by how much ReFT's greedy accuracy is above that of SFT continued."""
    return minus(found.figure("ppo", "accuracy"), found.figure("sft", "accuracy"))


def _row(line: str, figure: str) -> Row:
    return f"{LINES[line]}, {FIGURES[figure]}", lambda found: found.figure(line, figure)


GROUPS = (
    *(tuple(_row(line, figure) for figure in FIGURES) for line in LINES),
    (("ReFT - SFT continued, greedy", gain),),
)

ARMS = (
    Arm(
        task="reft",
        name="mixed",
        title="Mixed annotations",
        manifest="reft-toy.yaml",
        basis=BASIS,
        groups=GROUPS,
        claims=(
            Claim(
                what="ReFT - SFT continued, greedy",
                value=lambda found, _: gain(found),
                at_least=GAIN,
            ),
        ),
    ),
    Arm(
        task="reft",
        name="control",
        title="Control: uniform annotations",
        manifest="reft-toy-control.yaml",
        basis=BASIS,
        groups=GROUPS,
        claims=(
            Claim(
                what="ReFT - SFT continued, greedy",
                value=lambda found, _: gain(found),
                at_most=NO_GAIN,
                on_average=True,
            ),
        ),
    ),
)
