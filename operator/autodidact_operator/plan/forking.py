"""Finds the model that a forked run starts from."""

from collections.abc import Callable, Collection

from autodidact_contract.api.run import Origin
from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.types import FINAL


def waits_for(run: str, whom: Callable[[str], str]) -> set[str]:
    """Returns the runs whose models a run waits for, directly or through other runs.

    Args:
        run: Its name.
        whom: Returns the name of the run whose model a run waits for; empty where it waits for none.
    """
    found: set[str] = set()
    while (run := whom(run)) and run not in found:
        found.add(run)
    return found


def find(
    wanted: Origin,
    own_name: str,
    parent: RunStatus | None,
    others: Collection[str] = (),
) -> str | Problem:
    """Returns the artifact ``<kind>-<key>`` of the model, or why there is none.

    Args:
        wanted: What ``spec.from`` says.
        own_name: Name of the run that wants it.
        parent: Status of the run that it names; None where there is no such run.
        others: The runs that this parent itself waits for; see ``waits_for``.
    """
    if wanted.run == own_name:
        return Problem(
            reason="OriginIsItself",
            message=f"spec.from names {own_name}, which is this run; name another one",
        )
    if parent is None:
        return Problem(
            reason="OriginNotFound",
            message=f"spec.from names the run {wanted.run}, which is not in this namespace; create "
            "it, or start from another run: one that is deleted cannot be started from",
        )
    models = {line.iteration: line.model for line in parent.history if line.model}
    if model := models.get(wanted.iteration):
        return model
    if own_name in others:
        return Problem(
            reason="OriginIsItself",
            message=f"spec.from names {wanted.run}, which waits for a model of {own_name}, which is "
            "this run; name another one in one of them",
        )
    there = ", ".join(map(str, models)) or "none"
    if parent.phase in FINAL:
        return Problem(
            reason="OriginHasNoModel",
            message=f"run {wanted.run} is {parent.phase} without a model of iteration "
            f"{wanted.iteration}; it has those of: {there}",
        )
    return Problem(
        reason="OriginNotReady",
        message=f"run {wanted.run} has no model of iteration {wanted.iteration} yet; it has those "
        f"of: {there}",
    )
