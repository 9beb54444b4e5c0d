"""The kinds of run that have a report. Which one it is shows in the stages that are there."""

from collections.abc import Callable, Mapping

from autodidact_worker.report import reft, selfreward
from autodidact_worker.report.story import Story
from autodidact_worker.runtime.frame import InputArtifact

Tell = Callable[[Mapping[str, InputArtifact]], Story]

_RECIPES: tuple[tuple[frozenset[str], Tell], ...] = (
    (selfreward.KINDS, selfreward.tell),
    (reft.KINDS, reft.tell),
    (frozenset({"train-sft"}), selfreward.tell),
)
"""Kinds of stages that tell a recipe, and its teller. The order counts: a SelfRewardRun may sample
answers to questions as a ReFTRun does, and both begin with SFT."""


def tell(inputs: Mapping[str, InputArtifact]) -> Story:
    """Returns what the finished stages of a run have to tell."""
    kinds = {artifact.kind for artifact in inputs.values()}
    for known, teller in _RECIPES:
        if kinds & known:
            return teller(inputs)
    return Story()
