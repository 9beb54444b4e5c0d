"""What only a real node can do to a stage: the run tells it within seconds, and ends as it should.

Where a disruption is free, no failure is allowed to the run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from autodidact_contract.task import RunRef
from autodidact_operator.plan.naming import job_name
from support import manifests
from tools.cluster.waiting import eventually
from tools.node.images import NodeImages
from tools.node.node import RealNode
from tools.node.runs import SMALL, Body, Place, Run

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
FIRST = {"job": "train-sft", "attempt": "1"}
SECOND = {"job": "train-sft", "attempt": "2"}


def start(place: Place, profile: Body | None = None, **spec: object) -> Run:
    """Applies a small run whose stages all have the same ComputeProfile."""
    name = place.profile("only", **(profile or {}))
    names = dict.fromkeys(("generate", "train", "default"), name)
    return place.start(manifests.tiny(place.namespace, compute=names, **spec))


def start_training(place: Place, profile: Body | None = None) -> Run:
    """Starts a run that may not fail; returns it in the middle of a training that takes long."""
    run = start(place, profile, backoffLimit=0, warmUp={"epochs": 200})
    # A program that has not come far enough to hear the signal goes on to its end.
    eventually(lambda: "progress" in run.log(**FIRST), 300)
    return run


def container(pod: Body) -> Body:
    """Returns the state of a pod's container, empty before the kubelet has told."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: Body = statuses[0].get("state", {})
    return state


def has_ended(pod: Body) -> bool:
    """Returns whether a pod runs no more."""
    return not pod or "terminated" in container(pod)


def test_image_that_cannot_be_pulled(place: Place) -> None:
    """The kubelet's word on the image is the run's reason; after the deadline the run fails."""
    image = "localhost/autodidact/nothing:1"
    run = start(place, {"image": image}, backoffLimit=0, startDeadlineSeconds=15)
    run.tells(lambda: container(run.pod()).get("waiting"), "ImagePull")
    run.until_failed(image)


def test_unschedulable_gpus(place: Place) -> None:
    """The scheduler's count of what is missing is in the run's message, and the run ends with it."""
    gpus = {"resources": {"limits": {"nvidia.com/gpu": 8}}}
    run = start(place, gpus, backoffLimit=0, startDeadlineSeconds=15)
    run.tells(lambda: run.pod().get("status", {}).get("conditions"), "nvidia.com/gpu")
    run.until_failed("nvidia.com/gpu")


def test_quota_exceeded(place: Place) -> None:
    """A Job whose pods a quota forbids is told; once the quota is gone the run goes on."""
    place.kubectl("create", "quota", "none", "--hard=pods=0")
    run = start(place)
    run.tells(lambda: place.items("jobs"), "quota")
    place.kubectl("delete", "quota", "none")
    eventually(run.pod, 120)


def test_missing_secret(place: Place) -> None:
    """The Secret that is missing is named, and the run ends with it."""
    data = {"uri": "s3://elsewhere/rows.jsonl", "secretName": "not-there"}
    run = start(place, data={"instructions": data}, backoffLimit=0, startDeadlineSeconds=15)
    run.tells(lambda: run.pod().get("spec", {}).get("nodeName"), "not-there")
    run.until_failed("not-there")


def test_names_that_are_taken(place: Place, node_images: NodeImages) -> None:
    """Somebody's Job and Service of our names are told and left alone; without them it goes on."""
    run = start(place, {"nodes": 2}, suspend=True)
    uid = place.installed.run(place.namespace, run.name)["metadata"]["uid"]
    ref = RunRef(kind="SelfRewardRun", namespace=place.namespace, name=run.name, uid=uid)
    job, service = (job_name(ref, name, 1) for name in ("import", "train-sft"))
    place.kubectl("create", "job", job, f"--image={node_images.base}", "--", "true")
    place.kubectl("create", "service", "clusterip", service, "--clusterip=None")
    run.edit(suspend=False)
    run.tells(lambda: True, f"Job {place.namespace}/{job} exists and does not belong")
    place.kubectl("delete", "job", job)
    run.tells(
        lambda: container(run.pod(job="import")).get("terminated"),
        f"Service {place.namespace}/{service} exists and does not belong",
    )
    place.kubectl("delete", "service", service)
    eventually(lambda: len(run.pods(job="train-sft")) == 2, 60)
    run.edit(cancel=True)
    eventually(lambda: service not in {job["metadata"]["name"] for job in place.items("jobs")})


def test_out_of_memory(place: Place) -> None:
    """What the kernel kills for its memory is told, and done again once with the larger size."""
    little = {"limits": {"cpu": "1", "memory": "64Mi"}}
    run = start(place, {"resources": little, "outOfMemoryResources": SMALL}, backoffLimit=0)
    first, second = ({"job": "import", "attempt": attempt} for attempt in ("1", "2"))
    run.tells(lambda: container(run.pod(**first)).get("terminated"), "ran out of memory")
    eventually(lambda: container(run.pod(**second)).get("terminated", {}).get("exitCode") == 0, 120)


def test_exec_format_error(place: Place, node_images: NodeImages) -> None:
    """A program for another processor is a failed attempt that says so."""
    run = start(place, {"image": node_images.foreign}, backoffLimit=0)
    run.tells(lambda: container(run.pod()).get("terminated"), "exec format error", "kubectl logs")
    run.until_failed("exec format error")


def test_full_disk(place: Place) -> None:
    """A pod that the kubelet evicts for the room it takes is told with the kubelet's words."""
    limits = {"limits": {"ephemeral-storage": "1Mi"}, **SMALL}
    run = start(place, {"resources": limits}, backoffLimit=0, warmUp={"epochs": 200})
    # The kubelet looks every ten seconds: a short stage may have ended before.
    run.tells(lambda: "Evicted" in [pod["status"].get("reason") for pod in run.pods()], "ephemeral")
    # Its own doing, not the node's: it is charged.
    run.until_failed("ephemeral")


def test_drained_node(place: Place) -> None:
    """A drained node's stage is done again on the other one and costs the run no attempt."""
    run = start_training(place)
    node = place.node_of(run.pod(**FIRST))
    ours = f"--pod-selector=autodidact.dev/run={run.name}"
    with cordoned(place, node):
        place.kubectl("drain", node.name, ours, "--delete-emptydir-data", "--timeout=120s")
        run.tells(lambda: has_ended(run.pod(**FIRST)), "Disrupted")
        moved = eventually(lambda: run.pod(**SECOND).get("spec", {}).get("nodeName"), 60)
    assert moved != node.name
    assert (run.books("train-sft")["disruptions"], run.books("train-sft")["failures"]) == (1, 0)


def test_node_gone(place: Place) -> None:
    """A node that is heard of no more is told; taken out of service, its stage moves for free."""
    home, away = place.nodes
    with cordoned(place, home):
        run = start_training(place)
    pod = run.pod(**FIRST)
    assert pod["spec"]["nodeName"] == away.name
    away.kill_kubelet()
    try:
        # The scheduler and people may take minutes to learn it; the run says it at once.
        run.tells(lambda: run.pod(**FIRST)["metadata"].get("deletionTimestamp"), away.name)
        place.kubectl("taint", "node", away.name, OUT_OF_SERVICE)
        moved = eventually(lambda: run.pod(**SECOND).get("spec", {}).get("nodeName"), 120)
        assert moved == home.name
        books = run.books("train-sft")
        assert (books["disruptions"], books["failures"]) == (1, 0)
    finally:
        place.kubectl("taint", "node", away.name, f"{OUT_OF_SERVICE}-", check=False)
        away.start_kubelet()


@contextmanager
def cordoned(place: Place, node: RealNode) -> Iterator[None]:
    """Keeps new pods from a node."""
    place.kubectl("cordon", node.name)
    try:
        yield
    finally:
        place.kubectl("uncordon", node.name)
