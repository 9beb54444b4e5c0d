"""The ComputeProfile: where and how Jobs run."""

from typing import Any, ClassVar, Literal

from autodidact_contract.api.rules import Rule, Ruled
from autodidact_contract.api.run import Name, Url
from autodidact_contract.base import doc
from autodidact_contract.environment import DEFAULT_ENGINE, Deepspeed, Engine


class ComputeProfileSpec(Ruled):
    """Where and how Jobs run; owned by the administrator, named by runs."""

    RULES: "ClassVar[tuple[Rule[ComputeProfileSpec], ...]]" = (
        Rule(
            message="engine openai needs engineUrl, and no other engine has one",
            cel="has(self.engineUrl) == (self.engine == 'openai')",
            holds=lambda profile: (profile.engine_url is not None) == (profile.engine == "openai"),
        ),
        Rule(
            message="engineSecretName is for engine openai",
            cel="!has(self.engineSecretName) || self.engine == 'openai'",
            holds=lambda profile: profile.engine_secret_name is None or profile.engine == "openai",
        ),
    )

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
    deepspeed: Deepspeed = doc(
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
    engine: Engine = doc(
        DEFAULT_ENGINE,
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
