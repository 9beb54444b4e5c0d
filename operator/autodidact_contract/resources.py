"""What the kinds of run share: references, gates, status; and the ComputeProfile."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from autodidact_contract.base import Schema, doc
from autodidact_contract.training import Lora

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


_LOCATION_RULES: list[Any] = [
    {
        "rule": "!self.uri.matches('/[.][.]?(/|$)')",
        "message": "uri must not have the parts '.' or '..'",
    },
    {
        "rule": "!self.uri.startsWith('file:')",
        "message": "uri: file:// is for local mode; upload the data to S3",
    },
]
"""For the API server alone: in local mode the person who runs it owns the machine."""


class Source(Schema):
    """Where an input comes from."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": _LOCATION_RULES})

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


class RunSpec(Schema):
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


class Condition(Schema):
    """As metav1.Condition."""

    type: str = Field(
        description="Ready, Reconciling, Stalled, Succeeded, Suspended, or Degraded: the run goes "
        "on, but something about it is not as it should be."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(max_length=1024, description="Why, in one CamelCase word.")
    message: str = Field("", max_length=32768, description="Why, and what to do, in a sentence.")
    last_transition_time: str = Field(description="When its status changed last.")
    observed_generation: int = Field(0, description="Generation of the run it was found for.")


class StageStatus(Schema):
    """A stage of the current iteration."""

    name: str = Field(description="Name in the run's graph, for example judge-1.")
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Skipped"] = Field(
        description="Where it is; Skipped follows from a gate."
    )
    job: str = Field("", description="Name of its Job, while there is one.")
    reason: str = Field("", description="Why it waits, or why its last attempt ended.")
    message: str = Field("", description="The same in a sentence.")
    artifact: str = Field("", description="What it published, <kind>-<key>.")


class JobStatus(Schema):
    """What must survive the operator about one Job of the graph that is not done yet."""

    name: str = Field(description="Name of the Job in the run's graph, for example sample-1.")
    attempt: int = Field(0, description="Last attempt that was created.")
    counted: int = Field(0, description="Last attempt whose end was taken into account.")
    failures: int = Field(0, description="Failures charged to backoffLimit.")
    out_of_memory: int = Field(0, description="Failures for want of memory.")
    disruptions: int = Field(0, description="Attempts that ended without being charged.")
    retry_at: str | None = Field(None, description="Not before this time.")
    reason: str = Field("", description="Why the last attempt that was counted ended.")
    message: str = Field("", description="The same in a sentence.")


class Iteration(Schema):
    """One line of history: a model, and what was measured on it."""

    iteration: int = Field(description="Its number; 0 is the warm-up.")
    name: str = Field("", description="What made the model, for example warm-up, ppo, sft.")
    model: str = Field("", description="The model it made, <kind>-<key>.")
    acceptance: float | None = Field(
        None, description="Share of the ranked prompts whose judgements agreed with the people's."
    )
    scores_before: tuple[int, ...] | None = Field(
        None,
        description="Judgements kept of each score from 0 on, before rebalancing; a fraction counts "
        "with the whole score below it.",
    )
    scores_after: tuple[int, ...] | None = Field(None, description="The same after it.")
    pairs: int | None = Field(
        None,
        description="Preference pairs; where learning is positive, replies with the best score.",
    )
    mean_score: float | None = Field(None, description="Mean score of the replies.")
    quality: float | None = Field(None, description="The model's quality by a toy task's oracle.")
    win_rate: float | None = Field(None, description="Won battles against the model before it.")
    gain: float | None = Field(
        None, description="Share of won battles against the model before it minus lost ones."
    )
    length_ratio: float | None = Field(
        None, description="Mean length of the model's replies, divided by that of M1's."
    )
    judge_accuracy: float | None = Field(
        None, description="Pairwise accuracy of the model as a judge on the held-out rankings."
    )
    accuracy: float | None = Field(None, description="Greedy accuracy on the test questions.")
    vote_accuracy: float | None = Field(None, description="Accuracy of the majority vote.")
    rerank_accuracy: float | None = Field(None, description="Accuracy after reranking.")


class RunStatus(Schema):
    """Status of every kind of run; at most 32 KiB whatever its size."""

    observed_generation: int = Field(0, description="Generation of the run this is about.")
    phase: Literal["Pending", "Running", "Suspended", "Succeeded", "Failed"] = Field(
        "Pending", description="For people; programs read the conditions."
    )
    iteration: str = Field("", description="Current and last iteration, for example 2/3.")
    stage: str = Field("", description="Stage at work.")
    progress: str = Field("", description="Share of the stage that is done, for example 40%.")
    eta: str = Field("", description="Estimated time to the end of the stage.")
    score: str = Field("", description="Best known figure of the current model.")
    model: str = Field("", description="Folder of the last good model.")
    origin: str = Field("", description="Artifact <kind>-<key> that spec.from was found to be.")
    report: str = Field("", description="Folder of the HTML report.")
    started_at: str | None = Field(None, description="When the operator first saw the run.")
    finished_at: str | None = Field(None, description="When it succeeded or failed.")
    waiting_since: str | None = Field(None, description="Since when something hinders the run.")
    history: tuple[Iteration, ...] = Field((), description="What each iteration brought.")
    stages: tuple[StageStatus, ...] = Field((), description="Stages of the current iteration.")
    jobs: tuple[JobStatus, ...] = Field((), description="Attempts of the Jobs that are not done.")
    conditions: tuple[Condition, ...] = Field((), description="For programs, as in kstatus.")


_ENGINE_RULES: list[Any] = [
    {
        "rule": "has(self.engineUrl) == (self.engine == 'openai')",
        "message": "engine openai needs engineUrl, and no other engine has one",
    },
    {
        "rule": "!has(self.engineSecretName) || self.engine == 'openai'",
        "message": "engineSecretName is for engine openai",
    },
]


class ComputeProfileSpec(Schema):
    """Where and how Jobs run; owned by the administrator, named by runs."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": _ENGINE_RULES})

    image: str = doc("", "Worker image; empty: the operator's setting.", max_length=1024)
    resources: dict[str, Any] = doc(
        {}, "Resources of a worker container, as in a pod: requests, limits, claims."
    )
    out_of_memory_resources: dict[str, Any] = doc(
        {},
        "Resources of the attempt after one that ran out of memory; empty: no such attempt.",
    )
    nodes: int = doc(1, "Pods of a training Job.", ge=1, le=1024)
    processes_per_node: int = doc(
        1, "Training processes in a pod; as many as it has GPUs.", ge=1, le=64
    )
    deepspeed: Literal["none", "zero2", "zero3"] = doc(
        "none",
        "How training is spread over processes. Online training (train-ppo, train-online-st) under "
        "zero3 keeps a whole copy of the policy for sampling in each process, so the model must "
        "fit one device beside its share of the rest.",
    )
    node_selector: dict[str, str] = doc({}, "Labels of the nodes to run on.")
    tolerations: tuple[dict[str, Any], ...] = doc((), "Tolerations, as in a pod.")
    runtime_class_name: str | None = doc(None, "RuntimeClass of the pods, for example gVisor's.")
    priority_class_name: str | None = doc(None, "PriorityClass of the pods.")
    queue_name: str | None = doc(
        None,
        "Kueue LocalQueue. Jobs are then created suspended and Kueue alone lets them run.",
    )
    env: dict[str, str] = doc({}, "More environment for workers, for example NCCL settings.")
    engine: Literal["transformers", "vllm", "openai"] = doc(
        "transformers",
        "What samples in the stages that only sample: transformers in the worker image, vllm in "
        "an image of its own (image must name it), or openai, a server that somebody else runs. "
        "Samples depend on the engine, keys of artifacts do not: what was published stays, and "
        "its manifest names the engine. Answers of online training always come from transformers.",
    )
    engine_url: Url | None = doc(
        None,
        "Base of the OpenAI-compatible API of engine openai, for example "
        "http://vllm.models:8000/v1. It must list the model of a stage under its artifact's name; "
        "otherwise the stage fails as ModelNotServed and is tried again.",
    )
    engine_secret_name: Name | None = doc(
        None,
        "Secret in each run's namespace whose key apiKey is the key of that API; unset: it has "
        "none.",
    )
    sandbox: Literal["available", "required"] = doc(
        "available",
        "How model-written programs are kept in: available takes every layer the node has, and "
        "never runs one without no_new_privs, seccomp and a closed file system; required fails "
        "the run where any layer (namespaces too) is missing.",
    )
    shared_memory: str = doc("1Gi", "Size of /dev/shm; counts as memory of the pod.")
