"""SelfRewardRun as a graph (arXiv 2401.10020, sections 2.4 and 3.1.3).

What comes before M1 is in ``seed``, what leads from one model to the next in ``rounds``, and what
stops a run in ``gates``.
"""

from autodidact_contract.api import kinds
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs.parts import report
from autodidact_operator.plan.graphs.round_options import questions
from autodidact_operator.plan.graphs.rounds import Rounds
from autodidact_operator.plan.graphs.seed import seed
from autodidact_operator.plan.types import Graph


def graph(spec: SelfRewardSpec, salt: str, origin: str = "") -> Graph:
    """Returns the whole run as a graph of stages.

    Args:
        spec: The run's spec.
        salt: Different for each run; part of the keys of imports whose content may change.
        origin: Artifact that ``spec.from`` was found to be; empty where there is none.
    """
    start = seed(spec, salt, origin)
    rounds = Rounds(spec=spec, start=start)
    stages = [*start.stages, *questions(spec, start), rounds.evaluation(0)]
    for t in range(1, spec.iterations + 1):
        stages += rounds.stages(t)
    stages.append(report(spec, kinds.SELF_REWARD.title, stages, spec.iterations))
    return Graph(
        stages=tuple(stages),
        models={t: rounds.model(t) for t in range(1, spec.iterations + 2)},
        iterations=spec.iterations,
        lines=tuple(rounds.line(t) for t in range(spec.iterations + 1)),
    )
