"""What every training stage lets the user set."""

from typing import Any

import pytest
from pydantic import ValidationError

from autodidact_contract.api.training import TrainingFields

LEAST: dict[str, Any] = {
    "epochs": 1,
    "learningRate": 1e-5,
    "finalLearningRate": 1e-5,
    "schedule": "cosine",
    "batchSize": 4,
    "maxLength": 8,
    "dropout": 0,
}


def test_the_learning_rate_falls() -> None:
    """The last rate may be the highest one, and not above it."""
    assert TrainingFields.model_validate(LEAST).final_learning_rate == 1e-5
    with pytest.raises(ValidationError, match="finalLearningRate must not be above learningRate"):
        TrainingFields.model_validate({**LEAST, "finalLearningRate": 1.1e-5})
