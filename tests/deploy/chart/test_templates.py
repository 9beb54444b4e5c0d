import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml

from autodidact_operator.runs import jobs
from autodidact_operator.settings import Settings, _variables
from support.chart import rendering
from support.chart.rendering import Object

pytestmark = pytest.mark.cluster

GRANTED = {
    ("autodidact.dev", "selfrewardruns"): {"list", "watch"},
    ("autodidact.dev", "selfrewardruns/status"): {"patch"},
    ("autodidact.dev", "reftruns"): {"list", "watch"},
    ("autodidact.dev", "reftruns/status"): {"patch"},
    ("autodidact.dev", "computeprofiles"): {"list", "watch"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "delete"},
    ("", "pods"): {"list", "watch"},
    ("", "services"): {"get", "create"},
    ("", "events"): {"create"},
    ("coordination.k8s.io", "leases"): {"get", "create", "update"},
    ("authentication.k8s.io", "tokenreviews"): {"create"},
}


def _granted(objects: list[Object]) -> dict[tuple[str, str], set[str]]:
    granted: dict[tuple[str, str], set[str]] = {}
    for rule in rendering.rules(objects):
        for what in product(rule["apiGroups"], rule["resources"]):
            granted.setdefault(what, set()).update(rule["verbs"])
    return granted


def test_lint_is_clean(chart: Path) -> None:
    """Helm's strict linter has nothing to say."""
    answer = rendering.helm("lint", "--strict", str(chart))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_operator_has_exactly_these_rights(rendered: list[Object]) -> None:
    """The operator's rights are the listed ones: none on Secrets, no wildcard."""
    assert _granted(rendered) == GRANTED


def test_no_role_has_a_wildcard_or_a_secret(rendered: list[Object]) -> None:
    """No role of the chart, users' included, names every resource, every verb or Secrets."""
    roles = [*rendering.of_kind(rendered, "ClusterRole"), *rendering.of_kind(rendered, "Role")]
    words = {
        word for role in roles for rule in role["rules"] for item in rule.values() for word in item
    }
    assert not words & {"*", "secrets"}


def test_lending_needs_two_verbs_on_secrets(chart: Path) -> None:
    """With STS the operator may create and patch Secrets, and a policy keeps it to its own."""
    objects = rendering.render(chart, "--set", "store.sts.enabled=true")
    assert _granted(objects) == {**GRANTED, ("", "secrets"): {"create", "patch"}}
    (policy,) = [
        item
        for item in rendering.of_kind(objects, "ValidatingAdmissionPolicy")
        if item["metadata"]["name"].endswith("-secrets")
    ]
    assert policy["spec"]["matchConditions"][0]["expression"].endswith(
        '"system:serviceaccount:lab:learn-autodidact-operator"'
    )
    assert [rule["expression"] for rule in policy["spec"]["validations"]] == [
        f'object.type == "{jobs.SECRET_TYPE}"'
    ]


def test_watched_namespaces_confine_the_operator(chart: Path) -> None:
    """With named namespaces the operator's cluster-wide rights are two harmless ones."""
    objects = rendering.render(chart, "--set", "watch.namespaces={red,blue}")
    cluster_wide = next(
        role
        for role in rendering.of_kind(objects, "ClusterRole")
        if role["metadata"]["name"] == "lab:learn-autodidact-operator"
    )
    assert [rule["resources"] for rule in cluster_wide["rules"]] == [
        ["computeprofiles"],
        ["tokenreviews"],
    ]
    places = {role["metadata"]["namespace"] for role in rendering.of_kind(objects, "Role")}
    assert places == {"red", "blue", "lab"}
    assert _granted(objects) == GRANTED
    assert rendering.environment(objects)["AUTODIDACT_WATCH_NAMESPACES"] == "red,blue"


def test_pod_passes_restricted(rendered: list[Object]) -> None:
    """The operator's pod has every setting that Pod Security's restricted level asks for."""
    pod = rendering.only(rendered, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert rendering.container(rendered)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {
        "emptyDir",
        "secret",
    }


def test_environment_is_what_the_settings_read(chart: Path) -> None:
    """Every setting has its variable and no variable is unknown to the settings."""
    everything = "store.endpoint=http://minio:9000,store.sts.enabled=true"
    objects = rendering.render(
        chart, "--set", f"{everything},store.sts.endpoint=https://sts.amazonaws.com"
    )
    assert set(rendering.environment(objects)) == set(_variables(Settings).values())


def test_settings_accept_the_environment(chart: Path) -> None:
    """The operator's own parser takes the rendered environment and reads the values' meaning."""
    objects = rendering.render(
        chart,
        *("--set", "store.bucket=models,store.endpoint=http://minio:9000,containerPort=9444"),
        *("--set", "watch.namespaces={red},leaderElection=false,resyncSeconds=60,service.port=80"),
    )
    settings = Settings.from_environment(rendering.environment(objects))
    assert settings.store == "s3://models"
    assert settings.watch_namespaces == ("red",)
    assert settings.worker_endpoint == "http://minio:9000"
    assert settings.import_prefixes == (
        "toy://",
        "s3://models/inputs/{namespace}/",
        "s3://models/public/",
    )
    assert (settings.port, settings.leader_election, settings.resync_seconds) == (9444, False, 60)
    assert settings.progress_url == "http://learn-autodidact-operator.lab.svc:80/v1/progress"


def test_import_prefixes_are_json_whatever_they_hold(chart: Path) -> None:
    """Quotes in a prefix cannot break out of the JSON list."""
    objects = rendering.render(chart, "--set", r'imports.allowedPrefixes={s3://a"b/}')
    assert json.loads(rendering.environment(objects)["AUTODIDACT_IMPORT_PREFIXES"]) == ['s3://a"b/']


def test_ports_agree(chart: Path) -> None:
    """Container, probes, setting and Service use the chosen port."""
    objects = rendering.render(chart, "--set", "containerPort=9444,service.port=80")
    container = rendering.container(objects)
    (port,) = container["ports"]
    (service,) = rendering.only(objects, "Service")["spec"]["ports"]
    assert port == {"name": "http", "containerPort": 9444, "protocol": "TCP"}
    assert (service["port"], service["targetPort"]) == (80, "http")
    assert {container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")} == {
        "/healthz",
        "/readyz",
    }


def test_progress_can_be_off_or_elsewhere(chart: Path) -> None:
    """Without progress there is no URL, and a URL of one's own wins over the Service's."""
    off = rendering.render(chart, "--set", "progress.enabled=false")
    elsewhere = rendering.render(chart, "--set", "progress.url=http://10.0.0.1:9444/v1/progress")
    assert rendering.environment(off)["AUTODIDACT_PROGRESS_URL"] == ""
    assert (
        rendering.environment(elsewhere)["AUTODIDACT_PROGRESS_URL"]
        == "http://10.0.0.1:9444/v1/progress"
    )


def test_store_credentials_are_optional(chart: Path) -> None:
    """Without a Secret neither the volume nor its variable is there."""
    objects = rendering.render(chart, "--set", "store.credentialsSecret=")
    assert "AUTODIDACT_STORE_CREDENTIALS" not in rendering.environment(objects)
    assert [mount["name"] for mount in rendering.container(objects)["volumeMounts"]] == ["tmp"]


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("image.tag=", "ghcr.io/autodidact/operator:0.1.0"),
        ("image.tag=edge", "ghcr.io/autodidact/operator:edge"),
        (
            f"image.tag=edge,image.digest=sha256:{'a' * 64}",
            f"ghcr.io/autodidact/operator@sha256:{'a' * 64}",
        ),
    ],
)
def test_image_reference(chart: Path, given: str, image: str) -> None:
    """A digest wins over the tag, and the tag defaults to the version of the app."""
    assert rendering.container(rendering.render(chart, "--set", given))["image"] == image


def test_definitions_are_kept_and_switched(chart: Path, rendered: list[Object]) -> None:
    """All kinds are installed with the keep policy, unless switched off."""
    definitions = rendering.of_kind(rendered, "CustomResourceDefinition")
    assert {item["spec"]["names"]["kind"] for item in definitions} == {
        "SelfRewardRun",
        "ReFTRun",
        "ComputeProfile",
    }
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in definitions} == {
        "keep"
    }
    without = rendering.render(chart, "--set", "crds.install=false")
    assert not rendering.of_kind(without, "CustomResourceDefinition")


def test_definitions_keep_their_content(chart: Path, rendered: list[Object]) -> None:
    """Passing through the template changes nothing of a definition but labels and annotations."""
    for definition in rendering.of_kind(rendered, "CustomResourceDefinition"):
        plural = definition["spec"]["names"]["plural"]
        source = yaml.safe_load((chart / "files" / "crds" / f"{plural}.yaml").read_text())
        assert definition["spec"] == source["spec"]


def test_profiles_are_a_hook_until_the_kind_is_known(chart: Path) -> None:
    """Profiles are created by a hook on first installation and are ordinary objects afterwards."""
    first = rendering.only(rendering.render(chart), "ComputeProfile")
    later = rendering.only(
        rendering.render(chart, "--api-versions", "autodidact.dev/v1alpha1/ComputeProfile"),
        "ComputeProfile",
    )
    assert first["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert later["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": "learn",
        "meta.helm.sh/release-namespace": "lab",
    }
    assert first["spec"] == later["spec"]


def test_profiles_are_optional(chart: Path) -> None:
    """A release without profiles, for the second one in a cluster, can be asked for."""
    objects = rendering.render(chart, "--set", "computeProfiles=null")
    assert not rendering.of_kind(objects, "ComputeProfile")


def test_user_roles_aggregate(chart: Path, rendered: list[Object]) -> None:
    """The built-in view and edit roles take runs in, edit alone may write them."""
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    verbs: dict[str, set[str]] = {"view": set(), "edit": set(), "admin": set()}
    for role in rendering.of_kind(rendered, "ClusterRole"):
        for name in verbs:
            if role["metadata"]["labels"].get(prefix + name) == "true":
                verbs[name] |= {verb for rule in role["rules"] for verb in rule["verbs"]}
    assert verbs["view"] == {"get", "list", "watch"}
    assert (
        verbs["edit"]
        == verbs["admin"]
        == verbs["view"] | {"create", "update", "patch", "delete", "deletecollection"}
    )
    without = rendering.render(chart, "--set", "rbac.userRoles=false")
    assert len(rendering.of_kind(without, "ClusterRole")) == 1


def test_strategy_without_a_second_pod(chart: Path) -> None:
    """Where two operators cannot be side by side, the old pod can go first."""
    objects = rendering.render(
        chart,
        "--set",
        "replicas=1,updateStrategy.type=Recreate,updateStrategy.rollingUpdate=null",
    )
    deployment = rendering.only(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_disruption_budget_is_optional(chart: Path, rendered: list[Object]) -> None:
    """There is a PodDisruptionBudget when asked for."""
    assert not rendering.of_kind(rendered, "PodDisruptionBudget")
    objects = rendering.render(chart, "--set", "podDisruptionBudget.enabled=true")
    assert rendering.only(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("store.buckets=x", "additional properties 'buckets' not allowed"),
        ("replicas=two", "want integer"),
        ("containerPort=70000", "containerPort"),
        ("store.bucket=", "bucket"),
        ("image.digest=latest", "digest"),
        ("store.endpoint=minio:9000", "endpoint"),
        ("computeProfiles.Bad_Name.nodes=1", "Bad_Name"),
        ("imports.allowedPrefixes={file:///}", "allowedPrefixes"),
        ("leaderElection=maybe", "leaderElection"),
        ("networkPolicy.apiServer.ports={0}", "ports"),
        ("networkPolicy.apiServer.cidrs={everywhere}", "cidrs"),
        ("monitoring.serviceMonitor.interval=often", "interval"),
        ("minio.secretKey=short", "secretKey"),
        ("worker.imagePullSecrets={Not_A_Name}", "imagePullSecrets"),
        # Two stores, and a store whose keys have no place.
        ("minio.enabled=true,store.endpoint=http://s3:9000", "leave store.endpoint empty"),
        ("minio.enabled=true,store.credentialsSecret=", "store.credentialsSecret a name"),
    ],
)
def test_schema_refuses(chart: Path, given: str, complaint: str) -> None:
    """An unknown value or one of the wrong form is refused with its name."""
    answer = rendering.helm("template", "learn", str(chart), "--set", given)
    assert answer.returncode != 0
    assert complaint in answer.stderr


def test_every_value_has_a_description_and_a_row(chart: Path) -> None:
    """Schema, values and the table of the README name the same values, with their defaults."""
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del schema["properties"]["global"]
    rows = {
        line.split(" | ")[0].removeprefix("| ").strip("`"): line.split(" | ")[1].strip("`")
        for line in rendering.readme(chart).partition("| value | default |")[2].splitlines()
        if line.startswith("| `")
    }
    wanted = dict(_leaves(schema, values, ""))
    assert {name: json.loads(default) for name, default in rows.items()} == wanted


def _leaves(schema: Object, values: Object, prefix: str) -> Iterator[tuple[str, object]]:
    """Yields the path and default of each value that the README has a row for."""
    assert set(values) == set(schema["properties"]), prefix
    for name, described in schema["properties"].items():
        assert described["description"], name
        # What is written like a part of another object's spec is one value.
        whole = described["description"].startswith("As in a") or "properties" not in described
        if whole:
            yield prefix + name, values[name]
        else:
            yield from _leaves(described, values[name], f"{prefix}{name}.")


def test_policy_opens_what_the_operator_opens(chart: Path) -> None:
    """The admission policy has the operator's own prefixes, and can be switched off."""
    prefix = "s3://models/{namespace}/"
    objects = rendering.render(
        chart, "--set-json", f"imports.allowedPrefixes={json.dumps([prefix])}"
    )
    policy = rendering.only(objects, "ValidatingAdmissionPolicy")
    [opened] = [v for v in policy["spec"]["variables"] if v["name"] == "opened"]
    assert json.dumps(prefix) in opened["expression"]
    assert prefix in rendering.environment(objects)["AUTODIDACT_IMPORT_PREFIXES"]
    without = rendering.render(chart, "--set", "admissionPolicy.enabled=false")
    assert not rendering.of_kind(without, "ValidatingAdmissionPolicy")


def test_policy_holds_where_the_operator_works(chart: Path) -> None:
    """An operator for some namespaces judges the runs of no others."""
    objects = rendering.render(chart, "--set", "watch.namespaces={lab,annex}")
    binding = rendering.only(objects, "ValidatingAdmissionPolicyBinding")
    [wanted] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert wanted["values"] == ["lab", "annex"]
