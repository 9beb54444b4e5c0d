"""What every training stage lets the user set."""

import pytest
from pydantic import ValidationError

from support.builders import reft, spec


def test_the_learning_rate_falls() -> None:
    """The last rate may be the highest one, and not above it, in every training of either kind."""
    assert spec(dpo={"learningRate": 1e-5, "finalLearningRate": 1e-5}).dpo.learning_rate == 1e-5
    for make, names in ((spec, ("warmUp", "dpo")), (reft, ("warmUp", "ppo", "grpo", "reranker"))):
        for name in names:
            message = f"{name}.finalLearningRate must not be above {name}.learningRate"
            with pytest.raises(ValidationError, match=message):
                make(**{name: {"learningRate": 1e-5, "finalLearningRate": 1.1e-5}})
