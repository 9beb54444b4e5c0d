"""What the real API server says of rendered manifests; nothing of it is installed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from autodidact_contract.api.crd import definitions
from support import every_phase as runs
from support.chart import rendering, values
from support.chart.rendering import Object
from tools.cluster.control_plane import Cluster

MONITORING = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which is not here."""

REPOSITORY = rendering.CHART.parents[1]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A control plane with our kinds and with namespaces that enforce the restricted level."""
    with Cluster() as cluster:
        text = yaml.safe_dump_all(definitions().values())
        cluster.kubectl("apply", "--server-side", "-f", "-", input_text=text)
        for plural in definitions():
            crd = f"crd/{plural}.autodidact.dev"
            cluster.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
        for name in ("lab", "red", "blue"):
            cluster.create_namespace(name)
            cluster.kubectl("label", "ns", name, "pod-security.kubernetes.io/enforce=restricted")
        # A pod is refused without its account, which a dry run does not create.
        cluster.kubectl("-n", "lab", "create", "serviceaccount", "learn-autodidact-operator-test")
        yield cluster


def _apply(server: Cluster, objects: list[Object], *arguments: str) -> None:
    """Applies objects as a dry run, with unknown and repeated fields refused."""
    text = yaml.safe_dump_all(objects)
    strict = ("--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")
    server.kubectl("apply", *strict, *arguments, "-f", "-", input_text=text)


@pytest.mark.cluster
@pytest.mark.parametrize("name", values.SETS)
def test_the_api_server_takes_every_object(
    server: Cluster, chart: Path, tmp_path: Path, name: str
) -> None:
    """Every object of every set of values is valid, with no field that the API does not know."""
    objects = rendering.render(chart, "--values", str(values.file(tmp_path, name)))
    _apply(server, [item for item in objects if item["kind"] not in MONITORING])


@pytest.mark.cluster
@pytest.mark.parametrize("name", values.SETS)
def test_every_pod_is_admitted_as_restricted(
    server: Cluster, chart: Path, tmp_path: Path, name: str
) -> None:
    """Pods of the operator, of MinIO and of the hooks pass Pod Security's restricted level."""
    objects = rendering.render(chart, "--values", str(values.file(tmp_path, name)))
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": "lab"},
            # The operator's account is not installed.
            "spec": {**_with_volumes(spec), "serviceAccountName": "default"},
        }
        for number, spec in enumerate(rendering.pods(objects))
    ]
    assert len(pods) == (4 if name == "everything" else 2)
    _apply(server, pods)


def _with_volumes(spec: Object) -> Object:
    """Returns a pod's spec with the volumes that a StatefulSet would add."""
    known = {volume["name"] for volume in spec.get("volumes", ())}
    mounted = {m["name"] for c in spec["containers"] for m in c.get("volumeMounts", ())}
    added = [{"name": name, "emptyDir": {}} for name in sorted(mounted - known)]
    return {**spec, "volumes": [*spec.get("volumes", ()), *added]}


@pytest.mark.cluster
def test_kustomize_builds_the_base(server: Cluster) -> None:
    """The base has the definitions and the operator, and the API server takes them all."""
    built = server.kubectl("kustomize", str(REPOSITORY / "charts" / "kustomize"))
    objects = list(yaml.safe_load_all(built))
    assert {"CustomResourceDefinition", "Deployment", "Namespace", "ComputeProfile"} <= {
        item["kind"] for item in objects
    }
    managers = {
        i["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") for i in objects
    }
    assert managers == {"kustomize"}
    server.kubectl("create", "namespace", "autodidact-system")
    _apply(server, objects)


@pytest.mark.cluster
def test_kustomize_adds_the_health_script_to_argo_cd(server: Cluster, tmp_path: Path) -> None:
    """The component puts the script under both kinds into the ConfigMap that is there."""
    metadata = {"name": "argocd-cm", "namespace": "argocd"}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"url": "x"}}
    (tmp_path / "argocd-cm.yaml").write_text(json.dumps(settings))
    shutil.copytree(REPOSITORY / "charts" / "gitops" / "argocd", tmp_path / "health")
    overlay = {"resources": ["argocd-cm.yaml"], "components": ["health"]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    data = yaml.safe_load(server.kubectl("kustomize", str(tmp_path)))["data"]
    script = (tmp_path / "health" / "health.lua").read_text()
    assert data == {
        "url": "x",
        "resource.customizations.health.autodidact.dev_SelfRewardRun": script,
        "resource.customizations.health.autodidact.dev_ReFTRun": script,
    }


EXAMPLES = sorted((REPOSITORY / "crds" / "examples").glob("*.yaml"))


@pytest.mark.cluster
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_applying_a_run_again_shows_no_difference(
    server: Cluster, example: Path, tmp_path: Path
) -> None:
    """A second manager applies the same run twice, the operator writes in between: no difference."""
    body = yaml.safe_load(example.read_text())
    body["metadata"] = {"name": example.stem, "namespace": "red"}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(body))
    kind, run = body["kind"], ("-n", "red", f"{body['kind'].lower()}/{example.stem}")

    def apply(manager: str) -> Object:
        named = ("--server-side", f"--field-manager={manager}")
        server.kubectl("apply", *named, "-f", str(file))
        server.kubectl("diff", *named, "-f", str(file))  # Fails if there is any.
        found: Object = json.loads(server.kubectl("get", *run, "-o", "json"))
        return found

    first = apply("argocd-controller")
    assert first["status"] == runs.UNSEEN
    status = json.dumps({"status": runs.of_kind(kind)["running"]["status"]})
    written = ("--subresource=status", "--type=merge", "--field-manager=operator", "-p", status)
    server.kubectl("patch", *run, *written)
    second, third = apply("kustomize-controller"), apply("kustomize-controller")
    assert second["spec"] == third["spec"] == first["spec"]
    versions = [body["metadata"]["resourceVersion"] for body in (second, third)]
    assert versions[0] == versions[1]
