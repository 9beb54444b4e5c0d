"""The process node: pods as host processes, as the API shows them."""

import base64
import json
from typing import Any

import pytest

from tools.cluster import manifests
from tools.cluster.control_plane import Cluster
from tools.cluster.node_process import NodeProcess
from tools.cluster.node_settings import NodeSettings
from tools.cluster.outcomes import Outcome
from tools.cluster.processes import free_ports
from tools.cluster.waiting import eventually

pytestmark = pytest.mark.usefixtures("process_node")


def _sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def _pod(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    return cluster.get("pod", name, namespace)


def _ended(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Return a pod once it has come to its end."""

    def pod() -> dict[str, Any] | None:
        found = _pod(cluster, namespace, name)
        return found if found["status"]["phase"] in ("Succeeded", "Failed") else None

    found = eventually(pod)
    assert found is not None
    return found


def _terminated(pod: dict[str, Any]) -> dict[str, Any]:
    terminated: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return terminated


def _wait_ready(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.kubectl(
        "-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s"
    )


def _logs(cluster: Cluster, namespace: str, name: str, *options: str) -> str:
    return cluster.kubectl("-n", namespace, "logs", name, *options)


def test_a_job_succeeds_with_logs_and_message(cluster: Cluster, namespace: str) -> None:
    """A Job's pod runs its command; the Job completes, logs and termination message are there."""
    script = "echo to the log; echo -n result > /dev/termination-log"
    cluster.apply(manifests.job(namespace, "job", _sh(script)))
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/job", "--timeout=30s")
    pod = cluster.get("pods", namespace=namespace)["items"][0]
    assert pod["status"]["phase"] == "Succeeded"
    assert _terminated(pod)["message"] == "result"
    assert _terminated(pod)["reason"] == "Completed"
    assert _logs(cluster, namespace, "job/job") == "to the log\n"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 64", 64, id="a code"),
        pytest.param("kill -KILL $$$$", 137, id="a signal"),
        pytest.param("no-such-program", 127, id="the shell's own"),
    ],
)
def test_exit_codes(cluster: Cluster, namespace: str, script: str, code: int) -> None:
    """A pod fails with its command's exit code, or 128 plus the signal that ended it."""
    cluster.apply(manifests.pod(namespace, "failing", _sh(script)))
    pod = _ended(cluster, namespace, "failing")
    assert pod["status"]["phase"] == "Failed"
    assert (_terminated(pod)["exitCode"], _terminated(pod)["reason"]) == (code, "Error")


def test_a_program_that_does_not_exist(cluster: Cluster, namespace: str) -> None:
    """A command that cannot be started ends with 128 and StartError, as in containerd."""
    cluster.apply(manifests.pod(namespace, "absent", ["no-such-program"]))
    state = _terminated(_ended(cluster, namespace, "absent"))
    assert (state["exitCode"], state["reason"]) == (128, "StartError")
    assert "executable file not found" in state["message"]


def test_a_long_message_is_cut_and_a_missing_one_taken_from_the_log(
    cluster: Cluster, namespace: str
) -> None:
    """Termination messages have at most 4096 bytes; FallbackToLogsOnError takes the log's end."""
    long = _sh("head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log")
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    cluster.apply(
        manifests.pod(namespace, "long", long),
        manifests.pod(namespace, "fallback", _sh("echo why; exit 1"), container=policy),
    )
    assert _terminated(_ended(cluster, namespace, "long"))["message"] == "x" * 4096
    assert _terminated(_ended(cluster, namespace, "fallback"))["message"] == "why\n"


def test_configuration_reaches_the_container(cluster: Cluster, namespace: str) -> None:
    """ConfigMaps, Secrets, fields and resources arrive as variables and as files."""
    cluster.kubectl("-n", namespace, "create", "configmap", "settings", "--from-literal=a=1")
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "keys", "--from-literal=b=2")
    env = [
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "BOTH", "value": "$(FROM_MAP)-$(FROM_SECRET)-$(NAME)-$$(NAME)"},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "CONFIG", "value": "/etc/settings/a"},
    ]
    container = {
        "env": env,
        "envFrom": [{"secretRef": {"name": "keys"}, "prefix": "KEY_"}],
        "resources": {"limits": {"memory": "1Mi"}},
        "volumeMounts": [
            {"name": "settings", "mountPath": "/etc/settings"},
            {"name": "keys", "mountPath": "/etc/keys"},
            {"name": "scratch", "mountPath": "/scratch"},
        ],
    }
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "scratch", "emptyDir": {}},
    ]
    script = """
        echo $BOTH $LIMIT $KEY_b
        cat $CONFIG /etc/keys/b; echo
        stat -L -c %a /etc/keys/b
        echo kept > /scratch/file; cat /scratch/file
    """
    cluster.apply(
        manifests.pod(namespace, "reader", _sh(script), container=container, volumes=volumes)
    )
    assert _ended(cluster, namespace, "reader")["status"]["phase"] == "Succeeded"
    assert _logs(cluster, namespace, "reader") == "1-2-reader-$(NAME) 1048576 2\n12\n400\nkept\n"


def test_nothing_of_the_hosts_environment_is_inherited(cluster: Cluster, namespace: str) -> None:
    """A container sees its own HOME and only variables that somebody meant for it."""
    cluster.apply(manifests.pod(namespace, "env", ["env"]))
    _ended(cluster, namespace, "env")
    lines = _logs(cluster, namespace, "env").splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    known = {"PATH", "LANG", "HOME", "TMPDIR", "HOSTNAME", "KUBECONFIG"}
    kubernetes = {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
    assert set(variables) == known | kubernetes
    assert variables["HOME"].startswith(str(cluster.directory))


def test_a_pod_waits_for_a_missing_secret(cluster: Cluster, namespace: str) -> None:
    """A pod with a missing Secret says so in an Event and starts as soon as it exists."""
    volumes = [{"name": "keys", "secret": {"secretName": "late"}}]
    container = {"volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}
    cluster.apply(
        manifests.pod(
            namespace, "waiting", ["cat", "/keys/k"], container=container, volumes=volumes
        )
    )
    events = ("-n", namespace, "get", "events", "--field-selector=reason=FailedMount")
    message = 'secret "late" not found'
    eventually(lambda: message in cluster.kubectl(*events, "--output=yaml"))
    pod = _pod(cluster, namespace, "waiting")
    assert pod["status"]["phase"] == "Pending"
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ContainerCreating"}
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "late", "--from-literal=k=v")
    assert _ended(cluster, namespace, "waiting")["status"]["phase"] == "Succeeded"
    assert _logs(cluster, namespace, "waiting") == "v"


def test_a_missing_key_is_a_configuration_error(cluster: Cluster, namespace: str) -> None:
    """A variable from a Secret that does not exist shows as CreateContainerConfigError."""
    reference = {"secretKeyRef": {"name": "absent", "key": "k"}}
    container = {"env": [{"name": "X", "valueFrom": reference}]}
    cluster.apply(manifests.pod(namespace, "wrong", ["true"], container=container))
    eventually(lambda: _waiting_reason(cluster, namespace, "wrong") == "CreateContainerConfigError")


def test_an_image_that_cannot_be_pulled(cluster: Cluster, namespace: str) -> None:
    """An image named as broken shows as ErrImagePull, and the pod can be deleted."""
    container = {"image": "registry.example/does-not-exist:1"}
    cluster.apply(manifests.pod(namespace, "image", ["true"], container=container))
    eventually(lambda: _waiting_reason(cluster, namespace, "image") == "ErrImagePull")
    cluster.kubectl("-n", namespace, "delete", "pod", "image", "--timeout=10s")


def _waiting_reason(cluster: Cluster, namespace: str, name: str) -> str:
    statuses = _pod(cluster, namespace, name)["status"].get("containerStatuses") or [{}]
    return str(statuses[0].get("state", {}).get("waiting", {}).get("reason", ""))


def test_a_projected_token_names_audience_and_pod(cluster: Cluster, namespace: str) -> None:
    """The API server verifies a pod's token for its audience, and knows the pod by it."""
    source = {"serviceAccountToken": {"audience": "progress", "path": "token"}}
    volumes = [{"name": "token", "projected": {"sources": [source]}}]
    container = {"volumeMounts": [{"name": "token", "mountPath": "/var/run/progress"}]}
    command = ["cat", "/var/run/progress/token"]
    cluster.apply(manifests.pod(namespace, "bearer", command, container=container, volumes=volumes))
    pod = _ended(cluster, namespace, "bearer")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": _logs(cluster, namespace, "bearer"), "audiences": ["progress"]},
    }
    answer = cluster.kubectl("create", "-f", "-", "--output=json", input_text=json.dumps(review))
    status = json.loads(answer)["status"]
    assert status["authenticated"]
    assert status["audiences"] == ["progress"]
    extra = status["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]


def test_a_program_acts_as_its_service_account(cluster: Cluster, namespace: str) -> None:
    """KUBECONFIG in a pod is its service account's, with that account's rights and no others."""
    cluster.kubectl(
        *("-n", namespace, "create", "rolebinding", "reads", "--clusterrole=view"),
        f"--serviceaccount={namespace}:default",
    )
    kubectl = cluster.tool("kubectl")
    script = f"{kubectl} get pods -o name; {kubectl} auth can-i create pods"
    cluster.apply(manifests.pod(namespace, "client", _sh(script)))
    _ended(cluster, namespace, "client")
    assert _logs(cluster, namespace, "client").splitlines() == ["pod/client", "no"]


def test_a_pod_without_token_has_no_kubeconfig(cluster: Cluster, namespace: str) -> None:
    """With automountServiceAccountToken off a pod cannot act in the cluster at all."""
    script = "echo [$KUBECONFIG]"
    cluster.apply(manifests.pod(namespace, "bare", _sh(script), automountServiceAccountToken=False))
    _ended(cluster, namespace, "bare")
    assert _logs(cluster, namespace, "bare") == "[]\n"


def test_mounted_secrets_are_refreshed(cluster: Cluster, namespace: str) -> None:
    """A Secret that changes appears in the running pod's files."""
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "key", "--from-literal=k=old")
    volumes = [{"name": "key", "secret": {"secretName": "key"}}]
    container = {"volumeMounts": [{"name": "key", "mountPath": "/key"}]}
    script = "echo started; until grep -q new /key/k; do sleep 0.1; done; cat /key/k"
    cluster.apply(
        manifests.pod(namespace, "reading", _sh(script), container=container, volumes=volumes)
    )
    _wait_ready(cluster, namespace, "reading")
    value = base64.b64encode(b"new").decode()
    patch = json.dumps({"data": {"k": value}})
    cluster.kubectl("-n", namespace, "patch", "secret", "key", "--patch", patch)
    assert _ended(cluster, namespace, "reading")["status"]["phase"] == "Succeeded"
    assert _logs(cluster, namespace, "reading") == "started\nnew"


def test_indexed_jobs_know_their_index(cluster: Cluster, namespace: str) -> None:
    """Pods of an Indexed Job get their completion index."""
    shape = {"completionMode": "Indexed", "completions": 2, "parallelism": 2}
    cluster.apply(manifests.job(namespace, "indexed", _sh("echo $JOB_COMPLETION_INDEX"), job=shape))
    cluster.kubectl(
        "-n", namespace, "wait", "--for=condition=Complete", "job/indexed", "--timeout=30s"
    )
    names = sorted(p["metadata"]["name"] for p in cluster.get("pods", namespace=namespace)["items"])
    assert [_logs(cluster, namespace, name) for name in names] == ["0\n", "1\n"]


def test_init_containers_run_first(cluster: Cluster, namespace: str) -> None:
    """The main container starts when the init containers have succeeded, with their files."""
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    first = {"name": "first", "image": "none", "command": _sh("echo -n made > /shared/file")}
    spec = {
        "initContainers": [{**first, **mount}],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    cluster.apply(
        manifests.pod(namespace, "two-steps", ["cat", "/shared/file"], container=mount, **spec)
    )
    _ended(cluster, namespace, "two-steps")
    assert _logs(cluster, namespace, "two-steps") == "made"


def test_logs_can_be_followed(cluster: Cluster, namespace: str) -> None:
    """Following a log shows everything up to the end; --tail shows the last lines."""
    script = "for i in 1 2 3; do echo $i; sleep 0.2; done"
    cluster.apply(manifests.pod(namespace, "talking", _sh(script)))
    _wait_ready(cluster, namespace, "talking")
    assert _logs(cluster, namespace, "talking", "--follow") == "1\n2\n3\n"
    assert _logs(cluster, namespace, "talking", "--tail=1") == "3\n"


def test_a_deployment_ends_its_pods_with_grace(cluster: Cluster, namespace: str) -> None:
    """A deleted Deployment's pod gets SIGTERM, may clean up, and is gone afterwards."""
    scratch = cluster.directory / f"{namespace}-cleaned"
    script = f"trap 'echo > {scratch}; exit 0' TERM; while :; do sleep 0.1; done"
    cluster.apply(manifests.deployment(namespace, "server", _sh(script)))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/server", "--timeout=30s")
    cluster.kubectl("-n", namespace, "delete", "deployment", "server")
    eventually(lambda: not cluster.get("pods", namespace=namespace)["items"])
    assert scratch.exists()


def test_a_pod_that_ignores_sigterm_is_killed(cluster: Cluster, namespace: str) -> None:
    """After its grace period a pod is killed with all it started."""
    script = "trap '' TERM; while :; do sleep 0.1; done"
    cluster.apply(
        manifests.pod(namespace, "stubborn", _sh(script), terminationGracePeriodSeconds=1)
    )
    _wait_ready(cluster, namespace, "stubborn")
    cluster.kubectl("-n", namespace, "delete", "pod", "stubborn", "--timeout=10s")


def test_a_crashing_container_is_restarted(cluster: Cluster, namespace: str) -> None:
    """With restartPolicy Always a failing container starts again, its last log kept."""
    cluster.apply(
        manifests.pod(namespace, "crashing", _sh("echo failed; exit 1"), restartPolicy="Always")
    )
    eventually(lambda: _restarts(cluster, namespace, "crashing") >= 1)
    assert _logs(cluster, namespace, "crashing", "--previous") == "failed\n"


def _restarts(cluster: Cluster, namespace: str, name: str) -> int:
    statuses = _pod(cluster, namespace, name)["status"].get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))


def test_a_readiness_probe_decides(cluster: Cluster, namespace: str) -> None:
    """A pod with an HTTP probe is Ready when its server answers, not before."""
    (port,) = free_ports(1)
    go = cluster.directory / f"{namespace}-go"
    serve = f"exec python -m http.server {port} --bind 127.0.0.1"
    script = f"until [ -e {go} ]; do sleep 0.1; done; {serve}"
    probe = {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1}
    container = {"readinessProbe": probe}
    cluster.apply(manifests.pod(namespace, "probed", _sh(script), container=container))
    eventually(lambda: _pod(cluster, namespace, "probed")["status"]["phase"] == "Running")
    conditions = _pod(cluster, namespace, "probed")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["Ready"] == "False"
    go.touch()
    _wait_ready(cluster, namespace, "probed")


def test_a_service_is_reached_by_its_name(cluster: Cluster, namespace: str) -> None:
    """A Service's name in a variable leads to the port its pods listen on."""
    (port,) = free_ports(1)
    serve = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    ports = {"ports": [{"name": "web", "containerPort": port}]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "web"}]},
    }
    probe = {"readinessProbe": {"httpGet": {"path": "/", "port": "web"}}}
    cluster.apply(service, manifests.deployment(namespace, "web", serve, container=ports | probe))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    env = [{"name": "URL", "value": f"http://web.{namespace}.svc/"}]
    program = "import os, urllib.request as r; print(r.urlopen(os.environ['URL']).status)"
    client = manifests.pod(namespace, "client", ["python", "-c", program], container={"env": env})
    cluster.apply(client)
    _ended(cluster, namespace, "client")
    assert _logs(cluster, namespace, "client") == "200\n"


def test_eviction_says_so(cluster: Cluster, namespace: str) -> None:
    """An evicted Job pod ends as Failed with the condition DisruptionTarget."""
    cluster.apply(manifests.job(namespace, "long", ["sleep", "60"]))
    name = eventually(
        lambda: [
            pod["metadata"]["name"]
            for pod in cluster.get("pods", namespace=namespace)["items"]
            if pod["status"]["phase"] == "Running"
        ]
    )[0]
    # A finalizer of ours keeps the pod visible after its end.
    _set_finalizers(cluster, namespace, name, ["autodidact.dev/test"])
    cluster.evict(namespace, name)
    pod = _ended(cluster, namespace, name)
    _set_finalizers(cluster, namespace, name, [])
    assert pod["status"]["phase"] == "Failed"
    conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
    assert conditions["DisruptionTarget"] == "True"


def _set_finalizers(cluster: Cluster, namespace: str, name: str, finalizers: list[str]) -> None:
    patch = json.dumps({"metadata": {"finalizers": finalizers}})
    cluster.kubectl("-n", namespace, "patch", "pod", name, "--type=merge", "--patch", patch)


def _failed_job(cluster: Cluster, namespace: str, name: str) -> dict[str, Any] | None:
    job = cluster.get("job", name, namespace)
    return job if job["status"].get("failed") else None


def test_a_deadline_ends_the_pod(cluster: Cluster, namespace: str) -> None:
    """A pod that is active longer than allowed fails with DeadlineExceeded."""
    cluster.apply(manifests.pod(namespace, "late", ["sleep", "60"], activeDeadlineSeconds=1))
    pod = _ended(cluster, namespace, "late")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_scripted_fault_replaces_a_run(
    cluster: Cluster, namespace: str, process_node: NodeProcess
) -> None:
    """A fault left with the node ends the next container of a pod with these labels."""
    outcome = Outcome(exit_code=137, reason="OOMKilled")
    process_node.script({"victim": namespace}, outcome)
    cluster.apply(manifests.job(namespace, "victim", ["true"], labels={"victim": namespace}))
    eventually(lambda: _failed_job(cluster, namespace, "victim"))
    pod = cluster.get("pods", namespace=namespace)["items"][0]
    assert (_terminated(pod)["exitCode"], _terminated(pod)["reason"]) == (137, "OOMKilled")


def test_a_node_that_comes_back_fails_what_it_lost(cluster: Cluster, namespace: str) -> None:
    """After a power cut of its node a pod that may not restart is Failed."""
    node = cluster.add_node(NodeSettings(name="node-" + namespace))
    try:
        cluster.apply(
            manifests.pod(namespace, "lost", ["sleep", "60"], nodeName="node-" + namespace)
        )
        _wait_ready(cluster, namespace, "lost")
        node.kill()
        node.start()
        state = _terminated(_ended(cluster, namespace, "lost"))
        assert (state["exitCode"], state["reason"]) == (137, "ContainerStatusUnknown")
    finally:
        node.drop()
