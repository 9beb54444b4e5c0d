"""Parts of a graph that every recipe needs."""

import re
from collections.abc import Iterable
from typing import Any

from autodidact_contract import stages as s
from autodidact_contract.api.run import Gate, RunSpec, Source
from autodidact_contract.api.training import TrainingFields
from autodidact_operator.plan.types import Check, Stage

IMPORT = "import"
"""The job that brings in everything no Secret is needed for."""

_LASTING = re.compile(r"(toy|artifact)://.*|hf://[^@]+@[0-9a-f]{40}")
"""Locations whose content never changes; at all others, branches and tags too, a run looks again."""


def imports(
    spec: RunSpec, salt: str, sources: Iterable[tuple[str, Source | None, str]]
) -> list[Stage]:
    """Returns the stages that bring the inputs in.

    Args:
        spec: The run's spec.
        salt: Different for each run; part of the keys of imports whose content may change.
        sources: Stage name, where the input is (None: not wanted), and what it is.
    """
    return [
        Stage(
            name=name,
            config=s.Import.model_validate(
                {"uri": source.uri, "content": content, "seed": spec.seed}
            ),
            # A Secret is mounted for its own import alone, so that one source's credentials
            # never reach another's server.
            job=name if source.secret_name else IMPORT,
            salt="" if _LASTING.fullmatch(source.uri) else salt,
            secret=source.secret_name,
        )
        for name, source, content in sources
        if source
    ]


def training(spec: RunSpec, fields: TrainingFields) -> dict[str, Any]:
    """Returns what every training config has, from a run's fields of that training."""
    own = {name: getattr(fields, name) for name in TrainingFields.model_fields}
    return {**own, "lora": spec.lora, "seed": spec.seed}


def sampling(fields: Any, **changes: float) -> s.Sampling:
    """Returns how tokens are drawn, from fields that have temperature, topP and maxNewTokens."""
    own = {name: getattr(fields, name) for name in s.Sampling.model_fields}
    return s.Sampling.model_validate({**own, **changes})


def gate(limits: Gate | None, **what: Any) -> tuple[Check, ...]:
    """Returns the check of a gate, none where the gate is off."""
    return (Check(limit=limits.limit, action=limits.action, **what),) if limits else ()


def report(spec: RunSpec, title: str, stages: Iterable[Stage], last: int) -> Stage:
    """Returns the stage that makes one page of whatever was finished."""
    return Stage(
        name="report",
        config=s.Report(seed=spec.seed, title=title),
        job="report",
        iteration=last,
        inputs={stage.name: stage.name for stage in stages if _is_told_of(stage.config)},
        partial=True,
    )


def _is_told_of(config: s.AnyStage) -> bool:
    """Returns whether a stage is on the page: all but what was given from outside."""
    return not isinstance(config, s.Import) or config.uri.startswith("artifact://")
