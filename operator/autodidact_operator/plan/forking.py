"""From which model a forked run starts."""

from dataclasses import dataclass

from autodidact_contract.resources import Origin, RunStatus


@dataclass(frozen=True, kw_only=True)
class NoOrigin:
    """Why a run cannot start from another run's model.

    Attributes:
        final: It never can; otherwise it may be able to later.
        patient: The other run is at work, so that waiting for it is no hindrance.
    """

    reason: str
    message: str
    final: bool = False
    patient: bool = False


def find(wanted: Origin, own_name: str, parent: RunStatus | None) -> str | NoOrigin:
    """Returns the artifact ``<kind>-<key>`` of the model, or why there is none.

    Args:
        wanted: What ``spec.from`` says.
        own_name: Name of the run that wants it.
        parent: Status of the run that it names; None where there is no such run.
    """
    if wanted.run == own_name:
        return NoOrigin(
            reason="OriginIsItself",
            message=f"spec.from names {own_name}, which is this run; name another one",
            final=True,
        )
    if parent is None:
        return NoOrigin(
            reason="OriginNotFound",
            message=f"spec.from names the run {wanted.run}, which is not in this namespace; create "
            "it, or start from another run: one that is deleted cannot be started from",
        )
    models = {line.iteration: line.model for line in parent.history if line.model}
    if model := models.get(wanted.iteration):
        return model
    there = ", ".join(map(str, models)) or "none"
    if parent.phase in ("Succeeded", "Failed"):
        return NoOrigin(
            reason="OriginHasNoModel",
            message=f"run {wanted.run} is {parent.phase} without a model of iteration "
            f"{wanted.iteration}; it has those of: {there}",
            final=True,
        )
    return NoOrigin(
        reason="OriginNotReady",
        message=f"run {wanted.run} has no model of iteration {wanted.iteration} yet; it has those "
        f"of: {there}",
        patient=True,
    )
