"""What can be said of all stage kinds, from their config classes."""

from collections.abc import Mapping
from typing import get_args

from autodidact_contract.stages import AnyStage
from autodidact_contract.stages.base import StageConfig

STAGES: Mapping[str, type[StageConfig]] = {
    config.model_fields["stage"].default: config for config in get_args(get_args(AnyStage)[0])
}
"""The config class of each kind."""

SHARDED = frozenset(kind for kind, config in STAGES.items() if config.SHARDED)
SAMPLING = frozenset(kind for kind, config in STAGES.items() if config.SAMPLES)
