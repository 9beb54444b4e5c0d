"""Builds the manifests of a batch/v1 Job, its Service and its Secret, without any effect.

Pods pass Pod Security ``restricted``, have no Kubernetes rights, and mount two kinds of secret: the
store's credentials, and a token that says who they are to the operator's progress endpoint only.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from autodidact_contract import environment
from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.run import RunSpec
from autodidact_contract.base import GROUP
from autodidact_contract.stages.registry import SAMPLING
from autodidact_contract.task import EXIT_USER, RunRef
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.types import JobRequest
from autodidact_operator.settings import Settings

CONTAINER = "worker"
DEFAULT_TTL_S = 3600
GRACE_S = 120
"""Seconds a stage has to save and upload its state after SIGTERM."""

MASTER_PORT = 29500
RENDEZVOUS_TIMEOUT_S = 300
TOKEN_SECONDS = 3600
SECRET_TYPE = f"{GROUP}/store-credentials"
"""Type of the Secrets that the operator writes.

Kubernetes lets no Secret change its type, so the operator cannot write into any other Secret.
"""

_SECRETS = "/var/run/secrets/autodidact"
_TERMINATION_LOG = "/dev/termination-log"
_USER = 10001
_INDEX = f"metadata.annotations['{labels.COMPLETION_INDEX}']"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The run an object belongs to."""

    ref: RunRef
    api_version: str

    @property
    def reference(self) -> Body:
        """The owner reference; the garbage collector deletes what it owns with the run."""
        return {
            "apiVersion": self.api_version,
            "kind": self.ref.kind,
            "name": self.ref.name,
            "uid": self.ref.uid,
            "controller": True,
            # The run never waits for its Jobs when it is deleted, so this stays false: setting
            # it would need a right on the run's finalizers.
            "blockOwnerDeletion": False,
        }


def manifest(
    request: JobRequest, owner: Owner, spec: RunSpec, profile: ComputeProfileSpec, of: Settings
) -> Body:
    """Returns the Job.

    Args:
        request: What to run.
        owner: The run.
        spec: The run's spec.
        profile: The ComputeProfile as it is now; later edits do not reach the Job.
        of: The operator's settings.
    """
    pods = _pods(request, profile)
    marks = _labels(request, owner.ref)
    own_name = job_name(owner.ref, request.job, request.attempt)
    job: Body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": own_name,
            "namespace": owner.ref.namespace,
            "labels": {**marks, **_queue(profile)},
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            # The planner counts attempts, since it knows what each failure is charged to.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_fail_at_once()]},
            "ttlSecondsAfterFinished": DEFAULT_TTL_S
            if spec.ttl_seconds_after_finished is None
            else spec.ttl_seconds_after_finished,
            "template": {
                "metadata": {"labels": marks},
                "spec": _pod(request, own_name, profile, of),
            },
        },
    }
    if profile.queue_name:
        job["spec"]["suspend"] = True
    return job


def service(request: JobRequest, owner: Owner, profile: ComputeProfileSpec) -> Body | None:
    """Returns the headless Service by which ranks find rank 0, or None for a single pod."""
    if not _many(request, profile):
        return None
    own_name = job_name(owner.ref, request.job, request.attempt)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": own_name,
            "namespace": owner.ref.namespace,
            "labels": _labels(request, owner.ref),
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "clusterIP": "None",
            # Ranks must resolve each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": own_name},
        },
    }


def secret(job: Body, files: Mapping[str, str], expires_at: str) -> Body:
    """Returns the Secret with a Job's store credentials; it has the Job's name and ends with it.

    Args:
        job: As the API server knows it.
        files: The credentials as the store reads them, by name.
        expires_at: When they end.
    """
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": {labels.EXPIRES_AT: expires_at},
            "ownerReferences": [
                {**owner, "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": False}
            ],
        },
        "type": SECRET_TYPE,
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
    }


def _pods(request: JobRequest, profile: ComputeProfileSpec) -> int:
    return profile.nodes if request.training else request.shards


def _many(request: JobRequest, profile: ComputeProfileSpec) -> bool:
    return request.training and profile.nodes > 1


def _samples(request: JobRequest) -> bool:
    return any(stage.config.stage in SAMPLING for stage in request.task.stages)


def _labels(request: JobRequest, ref: RunRef) -> dict[str, str]:
    return {
        labels.RUN: ref.name,
        labels.RUN_UID: ref.uid,
        labels.KIND: ref.kind.lower(),
        labels.JOB: request.job,
        labels.ATTEMPT: str(request.attempt),
    }


def _queue(profile: ComputeProfileSpec) -> dict[str, str]:
    return {"kueue.x-k8s.io/queue-name": profile.queue_name} if profile.queue_name else {}


def _fail_at_once() -> Body:
    codes = {"containerName": CONTAINER, "operator": "In", "values": [EXIT_USER]}
    return {"action": "FailJob", "onExitCodes": codes}


def _pod(request: JobRequest, own_name: str, profile: ComputeProfileSpec, of: Settings) -> Body:
    secrets = _mounted_secrets(request, own_name, profile, of)
    pod: Body = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(request, own_name, profile, of, secrets)],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": profile.shared_memory}},
            *({"name": name, **source} for name, source in secrets.items()),
        ],
    }
    if _many(request, profile):
        pod["subdomain"] = own_name
    for key, value in (
        ("nodeSelector", profile.node_selector),
        ("tolerations", [dict(toleration) for toleration in profile.tolerations]),
        ("runtimeClassName", profile.runtime_class_name),
        ("priorityClassName", profile.priority_class_name),
        ("imagePullSecrets", [{"name": name} for name in of.worker_pull_secrets]),
    ):
        if value:
            pod[key] = value
    return pod


def _mounted_secrets(
    request: JobRequest, own_name: str, profile: ComputeProfileSpec, of: Settings
) -> dict[str, Body]:
    """Returns the volumes with secrets, by the names of their folders below ``_SECRETS``."""
    volumes: dict[str, Body] = {}
    if store := own_name if of.sts_enabled else of.worker_store_secret:
        volumes["store"] = {"secret": {"secretName": store}}
    if request.secret:
        volumes["source"] = {"secret": {"secretName": request.secret}}
    if profile.engine_secret_name and _samples(request):
        volumes["engine"] = {"secret": {"secretName": profile.engine_secret_name}}
    if of.progress_url:
        token = {
            "audience": of.progress_audience,
            "expirationSeconds": TOKEN_SECONDS,
            "path": "token",
        }
        volumes["progress"] = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    return volumes


def _container(
    request: JobRequest,
    own_name: str,
    profile: ComputeProfileSpec,
    of: Settings,
    secrets: dict[str, Body],
) -> Body:
    distributed = request.training and profile.nodes * profile.processes_per_node > 1
    launcher = ["-m", "torch.distributed.run"] if distributed else []
    resources = profile.resources
    if request.larger and profile.out_of_memory_resources:
        resources = profile.out_of_memory_resources
    return {
        "name": CONTAINER,
        "image": profile.image or of.worker_image,
        "command": ["python", *launcher, "-m", "autodidact_worker"],
        "env": [
            *_environment(request, profile, of, secrets),
            *(_rendezvous(own_name, profile) if distributed else ()),
            *({"name": name, "value": value} for name, value in sorted(profile.env.items())),
        ],
        "resources": resources,
        "terminationMessagePath": _TERMINATION_LOG,
        # A program that cannot even start writes nothing but its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - likewise
            *(
                {"name": name, "mountPath": f"{_SECRETS}/{name}", "readOnly": True}
                for name in secrets
            ),
        ],
    }


def _environment(
    request: JobRequest, profile: ComputeProfileSpec, of: Settings, secrets: dict[str, Body]
) -> list[Body]:
    values = {
        environment.TASK: request.task.model_dump_json(by_alias=True, exclude_none=True),
        environment.STORE: of.store,
        environment.IMAGE: profile.image or of.worker_image,
        environment.SCRATCH: "/scratch",
        "HOME": "/scratch",
        "TERMINATION_LOG": _TERMINATION_LOG,
        "AWS_ENDPOINT_URL": of.worker_endpoint,
        "AWS_REGION": of.aws_region,
        environment.STORE_CREDENTIALS: f"{_SECRETS}/store" if "store" in secrets else "",
        environment.SOURCE_CREDENTIALS: f"{_SECRETS}/source" if "source" in secrets else "",
        environment.PROGRESS_URL: of.progress_url,
        environment.TOKEN_FILE: f"{_SECRETS}/progress/token" if "progress" in secrets else "",
        environment.SANDBOX: "required" if profile.sandbox == "required" else "",
    }
    if request.training:
        values[environment.WORLD_SIZE] = str(profile.nodes * profile.processes_per_node)
        values[environment.DEEPSPEED] = profile.deepspeed
    if _samples(request):
        values[environment.ENGINE] = (
            profile.engine if profile.engine != environment.DEFAULT_ENGINE else ""
        )
        values[environment.ENGINE_URL] = profile.engine_url or ""
        values[environment.ENGINE_CREDENTIALS] = f"{_SECRETS}/engine" if "engine" in secrets else ""
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _rendezvous(own_name: str, profile: ComputeProfileSpec) -> list[Body]:
    """Returns torchrun's settings; it reads every option from PET_<OPTION>."""
    master = f"{own_name}-0.{own_name}" if profile.nodes > 1 else "127.0.0.1"
    values = {
        "PET_NNODES": str(profile.nodes),
        "PET_NPROC_PER_NODE": str(profile.processes_per_node),
        "PET_MASTER_ADDR": master,
        "PET_MASTER_PORT": str(MASTER_PORT),
        "PET_RDZV_CONF": f"timeout={RENDEZVOUS_TIMEOUT_S}",
    }
    rank: Body = {
        "name": "PET_NODE_RANK",
        "valueFrom": {"fieldRef": {"fieldPath": _INDEX}},
    }
    return [*({"name": key, "value": value} for key, value in values.items()), rank]
