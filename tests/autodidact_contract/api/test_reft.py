"""A ReFTRun: the paper's values as defaults."""

import pytest
from pydantic import ValidationError

from support.builders import reft

PAPER = {
    "warmUp.epochs": 40,
    "warmUp.learningRate": 1e-5,
    "warmUp.batchSize": 48,
    "warmUp.maxLength": 1024,
    "warmUp.warmupRatio": 0.1,
    "ppo.learningRate": 3e-7,
    "ppo.batchSize": 32,
    "ppo.maxLength": 700,
    "ppo.maxQuestionTokens": 300,
    "ppo.passes": 2,
    "ppo.gamma": 1.0,
    "ppo.gaeLambda": 0.95,
    "ppo.clipRatio": 0.2,
    "ppo.clipValue": 0.2,
    "ppo.valueCoefficient": 5.0,
    "reward.partial": 0.1,
    "voting.samples": 100,
}
"""arXiv 2401.08967 sections 3.1, 4.3 and appendix B."""


def test_defaults_are_those_of_the_paper() -> None:
    """A run of few lines is the paper's run."""
    found = reft().dump()
    for path, value in PAPER.items():
        inner = found
        for name in path.split("."):
            inner = inner[name]
        assert inner == value, path


def test_a_warm_up_ends_within_its_schedule() -> None:
    """The warm-up may stop at the end of its schedule, not after it."""
    assert reft(warmUp={"epochs": 3, "stopEpochs": 3}).warm_up.stop_epochs == 3
    with pytest.raises(ValidationError, match="stopEpochs must not be above"):
        reft(warmUp={"epochs": 3, "stopEpochs": 3.5})
