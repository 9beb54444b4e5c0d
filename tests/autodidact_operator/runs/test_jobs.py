import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.status import RunStatus
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.judging import Judge
from autodidact_contract.stages.training import TrainDpo
from autodidact_contract.task import Input, StageTask, Task
from autodidact_operator.cluster import labels
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.types import JobRequest, Observed
from autodidact_operator.runs import jobs
from autodidact_operator.settings import Settings
from support import builders, golden
from support.builders import ref, spec
from support.world import World

SETTINGS = Settings(
    store="s3://autodidact",
    aws_endpoint_url="http://minio.autodidact:9000",
    worker_endpoint="http://minio.autodidact:9000",
    worker_image="ghcr.io/autodidact/worker:0.1.0",
    worker_store_secret="store-keys",  # noqa: S106 - the name of a Secret
    progress_url="http://autodidact-operator.autodidact:8080/progress",
)


CPU = ComputeProfileSpec(resources={"requests": {"cpu": "2", "memory": "4Gi"}})


GPU = ComputeProfileSpec.model_validate(
    {
        "image": "registry.example/worker:gpu",
        "nodes": 2,
        "processesPerNode": 8,
        "deepspeed": "zero3",
        "resources": {"limits": {"nvidia.com/gpu": 8, "memory": "400Gi"}},
        "outOfMemoryResources": {"limits": {"nvidia.com/gpu": 8, "memory": "800Gi"}},
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "batch",
        "env": {"NCCL_DEBUG": "WARN"},
        "sharedMemory": "64Gi",
    }
)


SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=512)


JUDGE = Judge(rubric="additive-v1", votes=3, min_valid=1, allow_fractional=False, sampling=SAMPLING)


DPO = TrainDpo(
    learning_rate=1e-6,
    final_learning_rate=1e-7,
    schedule="linear",
    warmup_steps=0,
    epochs=1,
    batch_size=16,
    max_length=2048,
    dropout=0.1,
    weight_decay=0,
    max_grad_norm=1,
    beta=0.1,
    nll_coefficient=0,
)


PUBLISHED = Input(artifact=f"train-sft-{'a' * 32}", digest="b" * 64)


def import_request(secret: str | None = None) -> JobRequest:
    """Returns what a fresh run asks for first."""
    source = {"uri": "s3://inputs/base", **({"secretName": secret} if secret else {})}
    return World(spec=spec(model=source)).step().create[0]


def judging(shards: int = 4) -> JobRequest:
    """Returns a request to judge."""
    task = StageTask(name="judge-1", config=JUDGE, inputs={"model": PUBLISHED})
    return JobRequest(
        job="judge-1",
        attempt=1,
        task=Task(run=ref(), job="judge-1", attempt=1, shards=shards, stages=(task,)),
        profile="gpu-1",
        shards=shards,
        training=False,
    )


def training(attempt: int = 1, *, larger: bool = False) -> JobRequest:
    """Returns a request to train."""
    task = StageTask(name="train-dpo-1", config=DPO, inputs={"model": PUBLISHED})
    return JobRequest(
        job="train-dpo-1",
        attempt=attempt,
        task=Task(run=ref(), job="train-dpo-1", attempt=attempt, stages=(task,)),
        profile="gpu-8",
        shards=1,
        training=True,
        larger=larger,
    )


def reinforcing() -> JobRequest:
    """Returns what a ReFT run with programs asks for once it is warmed up."""
    of = builders.reft(reasoning="program")
    graph = builders.graph(of)
    seen = Observed(artifacts=builders.published(graph, "train-sft"))
    asked = replace(builders.run(of), ref=ref())
    wanted = decide(graph, asked, seen, RunStatus(), builders.NOW).create
    return next(request for request in wanted if request.job == "train-reft")


def owner(**changes: Any) -> jobs.Owner:
    """Returns the run that owns the Jobs."""
    return jobs.Owner(ref=ref(**changes), api_version="autodidact.dev/v1alpha1")


def made(
    request: JobRequest, profile: ComputeProfileSpec = CPU, settings: Settings = SETTINGS
) -> dict[str, Any]:
    """Returns the Job of a request of the minimal run."""
    return jobs.manifest(request, owner(), spec(), profile, settings)


def container(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the only container of a Job."""
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return found


def environment(job: dict[str, Any]) -> dict[str, str]:
    """Returns the environment of a Job's container, without what comes from fields."""
    return {item["name"]: item["value"] for item in container(job)["env"] if "value" in item}


QUEUED = ComputeProfileSpec(queue_name="research")


SERVED = ComputeProfileSpec(
    engine="openai",
    engine_url="http://vllm.models:8000/v1",
    engine_secret_name="models-key",  # noqa: S106 - the name of a Secret
)


CLOSED = CPU.model_copy(update={"sandbox": "required"})


GOLDEN = {
    "import": [made(import_request())],
    "import-with-secret": [made(import_request("keys"))],
    "judge-sharded": [made(judging())],
    "judge-queued": [made(judging(), QUEUED)],
    "judge-by-a-server": [made(judging(), SERVED)],
    "train-on-two-nodes": [jobs.service(training(), owner(), GPU), made(training(), GPU)],
    "train-after-out-of-memory": [
        made(training(2, larger=True), GPU.model_copy(update={"nodes": 1}))
    ],
    "reinforce-with-programs": [made(reinforcing(), CLOSED)],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_manifests_are_as_written_down(name: str) -> None:
    """What is sent to Kubernetes does not change by accident."""
    golden.check(f"job-{name}", GOLDEN[name])


def test_a_required_sandbox_reaches_the_pod() -> None:
    """The profile's demand is a setting of the worker, and there is none without it."""
    assert environment(made(reinforcing(), CLOSED))["AUTODIDACT_SANDBOX"] == "required"
    assert "AUTODIDACT_SANDBOX" not in environment(made(reinforcing()))


def test_the_engine_is_for_stages_that_sample() -> None:
    """A profile's engine and its key reach them alone; training samples by itself."""
    vllm = ComputeProfileSpec(engine="vllm", image="registry.example/vllm:1")
    assert environment(made(judging(), vllm))["AUTODIDACT_ENGINE"] == "vllm"
    for request, profile in product((training(), import_request()), (vllm, SERVED)):
        job = made(request, profile)
        assert not [name for name in environment(job) if name.startswith("AUTODIDACT_ENGINE")]
        assert "models-key" not in str(job)
    assert "AUTODIDACT_ENGINE" not in environment(made(judging()))


def test_larger_resources_only_after_out_of_memory() -> None:
    """The larger size is for the attempt that needs it, and only where there is one."""
    assert container(made(training(), GPU))["resources"] == GPU.resources
    after = container(made(training(larger=True), GPU))
    assert after["resources"] == GPU.out_of_memory_resources
    assert container(made(training(larger=True), CPU))["resources"] == CPU.resources


def test_labels_are_valid() -> None:
    """Label values are valid for a run whose name has all 63 characters."""
    job = jobs.manifest(judging(), owner(name="x" * 63), spec(), QUEUED, SETTINGS)
    for key, value in job["metadata"]["labels"].items():
        assert re.fullmatch("([A-Za-z0-9][A-Za-z0-9_.-]{0,61})?[A-Za-z0-9]", value), key
    assert job["metadata"]["labels"][labels.RUN] == "x" * 63


ALL = [job for group in GOLDEN.values() for job in group if job and job["kind"] == "Job"]


@pytest.mark.parametrize("job", ALL, ids=lambda job: job["metadata"]["name"])
def test_pods_pass_restricted(job: dict[str, Any]) -> None:
    """No pod asks for anything that Pod Security restricted forbids."""
    pod = job["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "hostUsers"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {key for volume in pod["volumes"] for key in volume} <= {
        "name",
        "emptyDir",
        "secret",
        "projected",
    }
    security = container(job)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not {"privileged", "procMount", "seLinuxOptions"} & security.keys()
    assert "ports" not in container(job)


@pytest.mark.parametrize("job", ALL, ids=lambda job: job["metadata"]["name"])
def test_pods_have_no_kubernetes_rights(job: dict[str, Any]) -> None:
    """Pods run as the default account without its token; their only token is for our endpoint."""
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    tokens = [
        source["serviceAccountToken"]["audience"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert tokens == [SETTINGS.progress_audience]


def test_run_shapes_no_pod() -> None:
    """Whatever a run asks for, its pods differ only in their task and in the Secret it names."""
    wild = spec(
        seed=9,
        shards=1,
        judge={"votes": 5},
        backoffLimit=1,
        startDeadlineSeconds=7,
        deadlineSeconds=99,
        ttlSecondsAfterFinished=3,
        model={"uri": "s3://inputs/other"},
    )
    plain, other = (World(spec=of).step().create[0] for of in (spec(), wild))
    one = jobs.manifest(plain, owner(), spec(), CPU, SETTINGS)
    two = jobs.manifest(other, owner(), wild, CPU, SETTINGS)
    for job in one, two:
        (task,) = (e for e in container(job)["env"] if e["name"] == "AUTODIDACT_TASK")
        task["value"] = ""
        del job["spec"]["ttlSecondsAfterFinished"]
    assert one == two


@pytest.mark.parametrize(("given", "seconds"), [(None, 3600), (0, 0), (60, 60)])
def test_time_to_live_of_jobs(given: int | None, seconds: int) -> None:
    """Finished Jobs are kept as long as the spec says, an hour if it says nothing."""
    changes = {} if given is None else {"ttlSecondsAfterFinished": given}
    job = jobs.manifest(judging(), owner(), spec(**changes), CPU, SETTINGS)
    assert job["spec"]["ttlSecondsAfterFinished"] == seconds


@pytest.mark.parametrize("request_", [import_request(), judging(), training()])
def test_task_arrives_as_it_was_sent(request_: JobRequest) -> None:
    """What a worker parses from its environment is the task that was planned."""
    sent = environment(made(request_))["AUTODIDACT_TASK"]
    assert Task.model_validate_json(sent) == request_.task


def test_worker_gets_no_empty_settings() -> None:
    """A setting that is not used is absent, and so is its Secret."""
    bare = made(judging(), settings=Settings(store="/data", worker_image="worker"))
    assert all(environment(bare).values())
    assert "AUTODIDACT_PROGRESS_URL" not in environment(bare)
    volumes = bare["spec"]["template"]["spec"]["volumes"]
    assert [volume["name"] for volume in volumes] == ["scratch", "tmp", "shm"]


def test_images_of_stages_are_pulled_with_the_administrators_secrets() -> None:
    """Pods name the Secrets for their registry; without any the field is absent."""
    settings = SETTINGS.model_copy(update={"worker_pull_secrets": ("registry", "mirror")})
    pod = made(judging(), settings=settings)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert "imagePullSecrets" not in made(judging())["spec"]["template"]["spec"]


def test_source_secret_is_mounted_for_its_import_alone() -> None:
    """The Job of another source does not see the Secret of the first."""
    world = World(spec=spec(model={"uri": "s3://inputs/base", "secretName": "keys"}))
    alone, shared = world.step().create
    volumes = {
        request.job: [v["name"] for v in made(request)["spec"]["template"]["spec"]["volumes"]]
        for request in (alone, shared)
    }
    assert "source" in volumes["import-model"]
    assert "source" not in volumes["import"]


def test_attempts_are_the_planners_alone() -> None:
    """Kubernetes tries nothing again by itself: it would not know what to charge."""
    job = made(judging())["spec"]
    assert job["backoffLimit"] == 0
    assert job["podReplacementPolicy"] == "Failed"
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_training_on_one_node_needs_no_service() -> None:
    """Only ranks on several nodes have to find each other by name."""
    one_node = GPU.model_copy(update={"nodes": 1})
    assert jobs.service(training(), owner(), one_node) is None
    assert jobs.service(judging(), owner(), GPU) is None
    assert environment(made(training(), one_node))["PET_MASTER_ADDR"] == "127.0.0.1"


def test_ranks_find_rank_0_by_the_services_name() -> None:
    """The address of rank 0 is the host name of the Job's first pod below its Service."""
    job, service = made(training(), GPU), jobs.service(training(), owner(), GPU)
    assert service is not None
    name = job["metadata"]["name"]
    assert service["metadata"]["name"] == name
    assert job["spec"]["template"]["spec"]["subdomain"] == name
    assert environment(job)["PET_MASTER_ADDR"] == f"{name}-0.{name}"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2


def test_single_process_needs_no_launcher() -> None:
    """Training by one process is started like any other stage."""
    single = container(made(training()))
    assert single["command"] == ["python", "-m", "autodidact_worker"]
    assert "PET_NNODES" not in environment(made(training()))


def test_queue_holds_the_job() -> None:
    """With a queue the Job is created suspended and labelled for it; its pods are not labelled."""
    job = made(judging(), QUEUED)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert "suspend" not in made(judging())["spec"]


def test_created_job_is_observed_as_it_was_meant() -> None:
    """What the planner asked for is what it sees after the Job was created."""
    from autodidact_operator.runs import observe  # noqa: PLC0415 - only here

    body = made(judging())
    body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"}
    (seen,) = observe.jobs([body], [], builders.UID)
    assert (seen.job, seen.attempt, seen.shards) == ("judge-1", 1, 4)
    assert Observed(jobs=(seen,)).jobs[0].name == job_name(ref(), "judge-1", 1)
