"""What the kinds of run share: references, gates, status; and the ComputeProfile."""

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from autodidact_contract.api.rules import Rule, Ruled
from autodidact_contract.base import Lora, Schema, doc

Uri = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=1024,
        pattern=r"^(toy|s3|hf|file)://[A-Za-z0-9][A-Za-z0-9._@+=/-]*$|^file:///[^\x00-\x1f]+$",
    ),
]


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"),
]


Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"),
]
"""Without user, query or fragment, where secrets would be."""


class Source(Ruled):
    """Where an input comes from."""

    # For the API server alone: in local mode the person who runs it owns the machine.
    RULES: "ClassVar[tuple[Rule[Source], ...]]" = (
        Rule(
            message="uri must not have the parts '.' or '..'",
            cel="!self.uri.matches('/[.][.]?(/|$)')",
        ),
        Rule(
            message="uri: file:// is for local mode; upload the data to S3",
            cel="!self.uri.startsWith('file:')",
        ),
    )

    uri: Uri = doc(
        ...,
        "Location: s3://bucket/key (an object, or a folder for a model), hf://org/name@revision, "
        "toy://selfreward/... and toy://reft/... (made on the spot), or file:///path (local mode "
        "only). Which "
        "locations a namespace may use without a Secret is the administrator's setting.",
    )
    secret_name: Name | None = doc(
        None,
        "Secret in the run's namespace with the keys accessKey and secretKey (and endpoint, if "
        "it is another server), for a location the administrator's setting does not open.",
    )


class Gate(Schema):
    """A limit on a measured figure, and what happens when it is passed."""

    limit: float = doc(..., "The limit; the figure itself may be equal to it.")
    action: Literal["Stop", "Fail"] = doc(
        "Stop",
        "Stop ends the run as Succeeded with the last good model; until a round has made one "
        "that no gate rejects there is none, so that a gate always fails the run there. Fail "
        "always fails it.",
    )


class Compute(Schema):
    """Names of ComputeProfiles."""

    generate: Name = doc(
        "default", "ComputeProfile of the stages that sample: generate, judge, evaluate."
    )
    train: Name = doc("default", "ComputeProfile of the training stages.")
    default: Name = doc("default", "ComputeProfile of all other stages; a CPU is enough.")


class Origin(Schema):
    """A model that another run made."""

    run: Name = doc(..., "A run of the same kind in the same namespace.")
    iteration: int = doc(
        ..., "The iteration of its history that made the model; 0 is the warm-up's.", ge=0, le=100
    )


class RunSpec(Ruled):
    """The fields every kind of run has. All others are immutable; these may be edited."""

    suspend: bool = doc(
        False, "Stops the running Jobs after they saved, and starts none, until it is false again."
    )
    cancel: bool = doc(
        False, "Ends the run as Failed with the reason Cancelled; artifacts are kept."
    )
    compute: Compute = doc(Compute(), "Where the stages run. An edit holds from the next Job on.")
    deadline_seconds: int | None = doc(
        None,
        "The run fails when it is not done so many seconds after it started, suspension "
        "included. Unset: no deadline.",
        ge=1,
    )
    start_deadline_seconds: int = doc(
        900,
        "A Job whose pods have not started after so many seconds (image, quota, no node, missing "
        "Secret) counts as a failed attempt.",
        "as long as a large GPU node takes to come up",
        ge=1,
    )
    ttl_seconds_after_finished: int | None = doc(
        None,
        "Finished Jobs of the run are deleted after so many seconds; unset: 3600. The run "
        "itself and its artifacts are never deleted by the operator.",
        ge=0,
    )
    backoff_limit: int = doc(
        3,
        "Failed attempts of one Job that are tried again, with growing delays. Preemption and "
        "eviction do not count, and wrong data or settings are never tried again.",
        "half of batch/v1's default, since a stage is long",
        ge=0,
        le=100,
    )
    shards: int = doc(
        1,
        "Pods that share each sampling stage. The artifacts are the same for every value.",
        ge=1,
        le=1024,
    )
    lora: Lora | None = doc(
        None,
        "Trains low-rank adapters instead of all weights, in every training stage; each stage's "
        "result is the merged model. Unset: all weights. Costs no more: a fraction of the "
        "optimiser's memory, about the same time, and the freedom of full weights.",
        "both papers train all weights",
    )
    seed: int = doc(
        0,
        "Seed of all noise. The same manifest gives the same artifacts on the same hardware.",
        ge=0,
        le=2**31 - 1,
    )

    @property
    def parent(self) -> Origin | None:
        """The model of another run that this one starts from."""
        return None


MUTABLE = ("suspend", "cancel", "compute", "deadlineSeconds", "ttlSecondsAfterFinished")
"""Fields of a spec that may be edited after creation."""
