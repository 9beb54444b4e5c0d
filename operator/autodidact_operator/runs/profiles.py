"""The ComputeProfiles that a run names, as they are on the cluster."""

from collections.abc import Mapping

from pydantic import ValidationError

from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.run import RunSpec
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.problems import Problem
from autodidact_operator.runs.specs import sentence, sources


def of_run(spec: RunSpec, existing: Mapping[str, Body]) -> dict[str, Body]:
    """Returns the specs of those of a run's ComputeProfiles that exist, by name.

    Args:
        spec: The run's.
        existing: The specs of all ComputeProfiles, by name.
    """
    return {name: existing[name] for name in _names(spec) if name in existing}


def enlargeable(profiles: Mapping[str, Body]) -> frozenset[str]:
    """Returns the names of the ComputeProfiles with a larger size for what ran out of memory."""
    return frozenset(name for name, spec in profiles.items() if spec.get("outOfMemoryResources"))


def problem(spec: RunSpec, existing: Mapping[str, Body]) -> Problem | None:
    """Returns which of a run's ComputeProfiles does not exist or cannot be read, if any.

    Args:
        spec: The run's.
        existing: The specs of all ComputeProfiles, by name.
    """
    for name in _names(spec):
        if name not in existing:
            there = ", ".join(sorted(existing)) or "none"
            message = (
                f"spec.compute names ComputeProfile {name}, but there is {there}; edit "
                "spec.compute or ask the administrator for it"
            )
            return Problem("ComputeProfileNotFound", message)
        try:
            ComputeProfileSpec.model_validate(existing[name])
        except ValidationError as error:
            return Problem("ComputeProfileInvalid", f"ComputeProfile {name}: {sentence(error)}")
    return None


def secrets(spec: RunSpec, profiles: Mapping[str, Body], store_secret: str) -> tuple[str, ...]:
    """Returns the names of the Secrets that the pods of a run mount, each once.

    Args:
        spec: The run's.
        profiles: The run's ComputeProfiles.
        store_secret: The Secret with the store's credentials, or words for it.
    """
    engines = (profile.get("engineSecretName") for profile in profiles.values())
    names = [store_secret, *(source.secret_name for source in sources(spec)), *engines]
    return tuple(dict.fromkeys(name for name in names if name))


def _names(spec: RunSpec) -> tuple[str, str, str]:
    return spec.compute.generate, spec.compute.train, spec.compute.default
