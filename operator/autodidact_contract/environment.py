"""Environment variables that our processes give to each other, and the names of the engines.

Each variable is a constant and a row of ``VARIABLES``. The settings of the operator are not here:
each field of ``autodidact_operator.settings.Settings`` is a variable with the same prefix.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

PREFIX: Final = "AUTODIDACT_"
"""Begins the name of every variable that is ours."""

LOG_LEVEL: Final = f"{PREFIX}LOG_LEVEL"
TASK: Final = f"{PREFIX}TASK"
STORE: Final = f"{PREFIX}STORE"
STORE_CREDENTIALS: Final = f"{PREFIX}STORE_CREDENTIALS"
SOURCE_CREDENTIALS: Final = f"{PREFIX}SOURCE_CREDENTIALS"
IMAGE: Final = f"{PREFIX}IMAGE"
SCRATCH: Final = f"{PREFIX}SCRATCH"
PROGRESS_URL: Final = f"{PREFIX}PROGRESS_URL"
TOKEN_FILE: Final = f"{PREFIX}TOKEN_FILE"
PROGRESS_FILE: Final = f"{PREFIX}PROGRESS_FILE"
PROGRESS_INTERVAL: Final = f"{PREFIX}PROGRESS_INTERVAL"
SANDBOX: Final = f"{PREFIX}SANDBOX"
WORLD_SIZE: Final = f"{PREFIX}WORLD_SIZE"
DEEPSPEED: Final = f"{PREFIX}DEEPSPEED"
CHECKPOINT_SECONDS: Final = f"{PREFIX}CHECKPOINT_SECONDS"
ENGINE: Final = f"{PREFIX}ENGINE"
ENGINE_URL: Final = f"{PREFIX}ENGINE_URL"
ENGINE_CREDENTIALS: Final = f"{PREFIX}ENGINE_CREDENTIALS"

Engine = Literal["transformers", "vllm", "openai"]
"""What samples. The worker has a module of each name in its package ``generation``."""

ENGINES: tuple[Engine, ...] = get_args(Engine)

DEFAULT_ENGINE: Engine = "transformers"
"""What samples where nothing else was asked for."""

Deepspeed = Literal["none", "zero2", "zero3"]
"""How DeepSpeed spreads a training over its processes."""

DEEPSPEEDS: tuple[Deepspeed, ...] = get_args(Deepspeed)

_JOBS = "autodidact_operator.runs.jobs"
_LOCAL = "autodidact_operator.local.run"
_PERSON = "a person"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable.

    Attributes:
        name: Its name.
        holds: What its value is, and what holds where it is not set.
        set_by: Modules that set it, or a person: in ``env`` of a ComputeProfile, in the chart's
            values or in a shell.
        read_by: Modules that read it.
    """

    name: str
    holds: str
    set_by: tuple[str, ...]
    read_by: tuple[str, ...]


VARIABLES = (
    Variable(
        name=LOG_LEVEL,
        holds="Least level of the lines that are logged. Default: INFO.",
        set_by=(_PERSON,),
        read_by=("autodidact_operator.__main__", "autodidact_worker.process"),
    ),
    Variable(
        name=TASK,
        holds="The stages to run, a `Task` as JSON. Required.",
        set_by=(_JOBS, _LOCAL),
        read_by=("autodidact_worker.process",),
    ),
    Variable(
        name=STORE,
        holds="Where artifacts are: s3://bucket or file:///folder. Required.",
        set_by=(_JOBS, _LOCAL),
        read_by=("autodidact_worker.process",),
    ),
    Variable(
        name=STORE_CREDENTIALS,
        holds="Folder with the keys of the store. Default: AWS_ACCESS_KEY_ID and its like.",
        set_by=(_JOBS, "autodidact_worker.intake.sources"),
        read_by=("autodidact_store.opening",),
    ),
    Variable(
        name=SOURCE_CREDENTIALS,
        holds="Folder with the keys of an import's location, or of a judging server. Default: "
        "those of the store, or none.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.intake.sources", "autodidact_worker.generation.chat"),
    ),
    Variable(
        name=IMAGE,
        holds="Image that the worker runs in, for the manifests. Default: none.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.process",),
    ),
    Variable(
        name=SCRATCH,
        holds="Folder for files that need not stay. Default: a temporary one.",
        set_by=(_JOBS, _LOCAL),
        read_by=("autodidact_worker.process",),
    ),
    Variable(
        name=PROGRESS_URL,
        holds="Where progress is posted. Default: nowhere.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.runtime.progress",),
    ),
    Variable(
        name=TOKEN_FILE,
        holds="File with the token that is sent with progress. Default: none is sent.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.runtime.progress",),
    ),
    Variable(
        name=PROGRESS_FILE,
        holds="File to which progress is appended where it is posted nowhere. Default: none.",
        set_by=(_LOCAL,),
        read_by=("autodidact_worker.runtime.progress",),
    ),
    Variable(
        name=PROGRESS_INTERVAL,
        holds="Least seconds between two reports of progress.",
        set_by=(_PERSON,),
        read_by=("autodidact_worker.runtime.progress",),
    ),
    Variable(
        name=SANDBOX,
        holds="`required`: programs run only where every layer of the sandbox is there.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.sandbox.pool",),
    ),
    Variable(
        name=WORLD_SIZE,
        holds="Processes that must train together. Default: as many as were started.",
        set_by=(_JOBS, _LOCAL),
        read_by=("autodidact_worker.training.distributed",),
    ),
    Variable(
        name=DEEPSPEED,
        holds="How DeepSpeed spreads the training, see `Deepspeed`. Default: none.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.training.distributed",),
    ),
    Variable(
        name=CHECKPOINT_SECONDS,
        holds="Seconds between two checkpoints of a training.",
        set_by=(_PERSON,),
        read_by=("autodidact_worker.runtime.checkpoints",),
    ),
    Variable(
        name=ENGINE,
        holds="What samples, see `Engine`. Default: transformers.",
        set_by=(_JOBS, _PERSON),
        read_by=("autodidact_worker.generation",),
    ),
    Variable(
        name=ENGINE_URL,
        holds="Address of the server of engine openai.",
        set_by=(_JOBS, _PERSON),
        read_by=("autodidact_worker.generation.openai",),
    ),
    Variable(
        name=ENGINE_CREDENTIALS,
        holds="Folder with the key of that server. Default: it wants none.",
        set_by=(_JOBS,),
        read_by=("autodidact_worker.generation.openai",),
    ),
)
