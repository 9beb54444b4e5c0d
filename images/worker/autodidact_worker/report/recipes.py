"""What a run's report tells, by the kind of the run."""

import importlib
from collections.abc import Mapping

from autodidact_contract.api.kinds import Kind
from autodidact_worker.report.story import Story
from autodidact_worker.runtime.frame import InputArtifact


def tell(kind: Kind, inputs: Mapping[str, InputArtifact]) -> Story:
    """Returns what the finished stages of a run have to tell.

    Args:
        kind: The run's kind; its ``report`` is a package beside this module.
        inputs: The finished stages by name.
    """
    if not inputs:
        return Story()
    recipe = importlib.import_module(f"{__package__}.{kind.report}")
    story: Story = recipe.tell(inputs)
    return story
