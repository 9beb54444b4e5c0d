"""Runs of both kinds in every phase, with the status that the planner writes."""

from collections.abc import Mapping
from typing import Any

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.types import Observed
from support import builders

Body = dict[str, Any]

UNSEEN: Body = RunStatus().dump()
"""What the API server shows of a run before the operator does; see its definition."""

_WORKING = builders.job("import", builders.pod())
_BROKEN = builders.job(
    "import",
    builders.pod("Failed", exit_code=64, result=builders.words("user", "DataMissing", "no rows")),
)


def _status(
    of: RunSpec, before: RunStatus | None = None, generation: int = 1, **seen: Any
) -> RunStatus:
    run = builders.run(of, generation)
    return decide(
        builders.graph(of), run, Observed(**seen), before or RunStatus(), builders.NOW
    ).status


def _statuses(of: RunSpec, tripped: Mapping[str, Mapping[str, float]]) -> dict[str, RunStatus]:
    done = builders.published(builders.graph(of))
    begun = builders.begun(builders.at_attempt("import", 1))
    suspended = of.model_copy(update={"suspend": True})
    cancelled = of.model_copy(update={"cancel": True})
    warned = builders.published(builders.graph(of), **tripped)
    partly = dict(list(warned.items())[:-1])
    return {
        "hindered": _status(
            of, problem=Problem("StoreUnavailable", "s3://autodidact does not answer")
        ),
        "begun": _status(of),
        "running": _status(of, begun, jobs=(_WORKING,)),
        "suspended": _status(suspended, begun, jobs=(_WORKING,)),
        "succeeded": _status(of, begun, artifacts=done),
        "failed": _status(of, begun, jobs=(_BROKEN,)),
        "cancelled": _status(cancelled, begun, jobs=(_WORKING,)),
        "warned": _status(of, begun, artifacts=partly),
        "succeeded-warned": _status(of, begun, artifacts=warned),
    }


def of_kind(kind: str) -> dict[str, Body]:
    """Returns objects of a kind by what they are."""
    of: RunSpec = builders.spec() if kind == "SelfRewardRun" else builders.reft()
    # What a run of each kind goes on with, but warns of.
    tripped = {} if kind == "SelfRewardRun" else {"prepare_test": {"overlap": 3}}
    found = {name: status.dump() for name, status in _statuses(of, tripped).items()}
    objects = {
        name: _object(kind, name, of.dump(), status)
        for name, status in {"unseen": UNSEEN, **found}.items()
        if tripped or "warned" not in name
    }
    edited = _object(kind, "edited", of.dump(), found["succeeded"])
    edited["metadata"]["generation"] = 2
    return {**objects, "edited": edited}


def _object(kind: str, name: str, of: Body, status: Body) -> Body:
    return {
        "apiVersion": "autodidact.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "research", "generation": 1},
        "spec": of,
        "status": status,
    }
