"""What stage configs share: the root of all, sampling, servers, and the names of rubrics."""

from pydantic import Field

from autodidact_contract.base import Schema

SANDBOX_LAYERS = ("namespaces", "landlock")
"""Layers of the sandbox that programs can be run without, one at a time.

A stage counts ``sandbox-without-<layer>`` where its node has not got one.
"""


RUBRICS = ("additive-v1", "toy-copy-v1")
"""Versioned template sets: the judge's rubric, its parser's scale, and the prompt writer's form."""


class StageConfig(Schema):
    """What every stage config has: its kind (the discriminator) and the seed of its noise."""

    seed: int = 0


class Sampling(Schema):
    """How tokens are drawn; at temperature 0 the most likely one is taken (greedy)."""

    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1, le=131072)


class Server(Schema):
    """A server that speaks OpenAI's protocol; its key is in a mounted Secret, not here."""

    url: str
    model: str
