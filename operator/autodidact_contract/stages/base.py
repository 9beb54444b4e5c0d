"""What stage configs share: the root of all, sampling, servers, and the names of rubrics."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from autodidact_contract.base import Schema

SANDBOX_LAYERS = ("namespaces", "landlock")
"""Layers of the sandbox that programs can be run without, one at a time.

A stage counts ``sandbox-without-<layer>`` where its node has not got one.
"""


RUBRICS = ("additive-v1", "toy-copy-v1")
"""Versioned template sets: the judge's rubric, its parser's scale, and the prompt writer's form."""


SANDBOX_COUNTS = ("sandbox-missing", "sandbox-without-*")
"""What a stage counts that runs programs: layers that its sandbox has not got."""

GRADER_COUNTS = ("read-*", "formulas-lost", *SANDBOX_COUNTS)
"""What a stage counts that grades answers."""

Names = tuple[str, ...]

Compute = Literal["default", "generate", "train"]
"""Field of ``spec.compute`` that names a ComputeProfile."""


@dataclass(frozen=True)
class Takes:
    """An input that the stages of a kind take.

    Attributes:
        name: Its name.
        optional: Whether a stage may have none.
        numbered: Whether a stage may have several, whose names end in ``-<number>``.
    """

    name: str
    optional: bool = field(default=False, kw_only=True)
    numbered: bool = field(default=False, kw_only=True)


class StageConfig(Schema):
    """What every stage config has: its kind (the discriminator) and the seed of its noise.

    What holds for all stages of a kind is said by its class. It is no field, so that it is not
    hashed into the stage key.

    Attributes:
        TAKES: Inputs.
        TAKES_ANY: Whether a stage takes inputs of further names.
        COUNTS: Names of what a stage may count; one that ends in ``*`` stands for all names that
            begin so.
        METRICS: Names of what a stage may measure, likewise.
        COMPUTE: What a stage needs: ``generate``: a GPU for a model that stays as it is; ``train``:
            GPUs for one that is trained; ``default``: none.
        SHARDED: Whether its items can be split over the pods of one Indexed Job.
        SAMPLES: Whether it samples from a model by the ComputeProfile's engine.
    """

    TAKES: ClassVar[tuple[Takes, ...]] = ()
    TAKES_ANY: ClassVar[bool] = False
    COUNTS: ClassVar[Names] = ()
    METRICS: ClassVar[Names] = ()
    COMPUTE: ClassVar[Compute] = "default"
    SHARDED: ClassVar[bool] = False
    SAMPLES: ClassVar[bool] = False

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
