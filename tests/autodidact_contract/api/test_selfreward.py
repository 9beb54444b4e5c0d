"""A SelfRewardRun: the paper's values as defaults, and what it starts from."""

import pytest
from pydantic import ValidationError

from support.builders import spec

PAPER = {
    "iterations": 2,
    "warmUp.learningRate": 5.5e-6,
    "warmUp.finalLearningRate": 1.1e-6,
    "warmUp.batchSize": 16,
    "warmUp.dropout": 0.1,
    "dpo.learningRate": 1e-6,
    "dpo.finalLearningRate": 1e-7,
    "dpo.batchSize": 16,
    "dpo.dropout": 0.1,
    "dpo.beta": 0.1,
    "prompts.temperature": 0.6,
    "prompts.topP": 0.9,
    "responses.perPrompt": 4,
    "responses.temperature": 0.7,
    "responses.topP": 0.9,
    "judge.votes": 3,
}
"""arXiv 2401.10020 section 3.1.3."""


def test_defaults_are_those_of_the_paper() -> None:
    """A run of few lines is the paper's run."""
    found = spec().dump()
    for path, value in PAPER.items():
        inner = found
        for name in path.split("."):
            inner = inner[name]
        assert inner == value, path


def test_battles_take_their_prompts_from_what_was_held_out() -> None:
    """Ranked trees hold out their own prompts where no held-out data is given."""
    ranked = {"ranked": {"uri": "s3://inputs/trees"}, "instructions": None, "heldOut": None}
    plain = spec().seed_source
    trees = spec(data=ranked).seed_source
    assert plain is not None
    assert trees is not None
    assert (plain.uri, trees.uri) == ("s3://inputs/held-out.jsonl", "s3://inputs/trees")


def test_a_fork_has_a_parent() -> None:
    """Only a run that names another one starts from it."""
    assert spec().parent is None
    parent = spec(**{"from": {"run": "llama", "iteration": 1}}).parent
    assert parent is not None
    assert (parent.run, parent.iteration) == ("llama", 1)


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is an error, not a default."""
    with pytest.raises(ValidationError, match="iteration"):
        spec(iteration=3)
