"""One decision about a run, and what it came to."""

from collections.abc import Mapping
from typing import Any

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.types import Decision, Observed, ObservedJob
from support import builders
from support.builders import later, spec
from support.world import World


def see(
    *jobs: ObservedJob,
    until: str | None = "",
    before: RunStatus | None = None,
    seconds: float = 0,
    problem: Problem | None = None,
    figures: Mapping[str, Mapping[str, float]] | None = None,
    **changes: Any,
) -> Decision:
    """Returns the decision on a run of which the stages up to ``until`` are published."""
    of = spec(**changes)
    graph = builders.graph(of)
    done = {} if until == "" else builders.published(graph, until, **(figures or {}))
    seen = Observed(jobs=jobs, artifacts=done, problem=problem)
    return decide(graph, builders.run(of), seen, before or RunStatus(), later(seconds))


def attempts(decision: Decision) -> list[tuple[str, int]]:
    """Returns the job and the attempt of each Job to create."""
    return [(request.job, request.attempt) for request in decision.create]


MISSING = Problem("ComputeProfileNotFound", "no profile gpu-8")


def gated(figures: Mapping[str, Mapping[str, float]], **changes: Any) -> World:
    """Returns the world of a run after its end, in which stages measured these figures."""
    world = World(spec=spec(**changes), figures={k: dict(v) for k, v in figures.items()})
    world.play()
    return world
