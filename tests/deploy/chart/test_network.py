"""NetworkPolicies: who may reach whom, judged on the labels that pods really have."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.api.run import RunSpec, Source
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs.parts import IMPORT
from autodidact_operator.runs import jobs
from autodidact_operator.settings import Settings
from support import builders
from support.chart import rendering
from support.chart.rendering import Object
from support.world import World

pytestmark = pytest.mark.cluster

ON = ("--set", "networkPolicy.enabled=true,watch.namespaces={red}")


def _policy(objects: list[Object], name: str) -> Object:
    [found] = [
        item["spec"]
        for item in rendering.of_kind(objects, "NetworkPolicy")
        if item["metadata"]["name"] == f"learn-autodidact-operator{name}"
    ]
    return dict(found)


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    """Returns whether a label selector matches, as Kubernetes has it."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(_holds(wanted, labels) for wanted in selector.get("matchExpressions", ()))


def _holds(wanted: Object, labels: dict[str, str]) -> bool:
    here, values = wanted["key"] in labels, wanted.get("values", ())
    among = labels.get(wanted["key"]) in values
    return {"Exists": here, "In": here and among, "NotIn": not among}[wanted["operator"]]


def _stage() -> dict[str, str]:
    """Returns the labels of a stage's pod."""
    [request, *_] = World(spec=builders.spec()).step().create
    made = jobs.manifest(
        request,
        jobs.Owner(ref=builders.ref(), api_version="autodidact.dev/v1alpha1"),
        builders.spec(),
        ComputeProfileSpec(),
        Settings(store="s3://autodidact", worker_image="worker"),
    )
    labels: dict[str, str] = made["spec"]["template"]["metadata"]["labels"]
    return labels


def _pod_labels(objects: list[Object], kind: str) -> dict[str, str]:
    item = rendering.only(objects, kind)
    template = item if kind == "Pod" else item["spec"]["template"]
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


@pytest.fixture(scope="module")
def closed(chart: Path) -> list[Object]:
    """The chart with policies and with MinIO."""
    return rendering.render(chart, *ON, "--set", "minio.enabled=true")


def test_policies_are_off_unless_asked_for(rendered: list[Object]) -> None:
    """By default there is no policy."""
    assert not rendering.of_kind(rendered, "NetworkPolicy")


@pytest.mark.parametrize(
    ("kind", "policies"),
    [("Deployment", {""}), ("Pod", {""}), ("Job", {""}), ("StatefulSet", {"-minio"})],
)
def test_each_pod_of_the_release_has_its_policy(
    closed: list[Object], kind: str, policies: set[str]
) -> None:
    """The operator and the hooks are under one policy, MinIO is under its own."""
    labels = _pod_labels(closed, kind)
    found = {
        name for name in ("", "-minio") if _selects(_policy(closed, name)["podSelector"], labels)
    }
    assert found == policies


def test_stages_are_selected_and_nothing_else_is(closed: list[Object]) -> None:
    """The policy for stages is for the labels that the operator gives to their pods."""
    selector = _policy(closed, "-stages")["podSelector"]
    assert _selects(selector, _stage())
    assert not _selects(selector, {"app": "somebody-elses"})


def test_hooks_and_minio_do_not_get_the_operators_traffic(closed: list[Object]) -> None:
    """The operator's Service selects the operator's pods alone."""
    services = rendering.of_kind(closed, "Service")
    [own] = [s for s in services if s["metadata"]["name"] == "learn-autodidact-operator"]
    for kind, wanted in (("Deployment", True), ("StatefulSet", False), ("Pod", False)):
        labels = _pod_labels(closed, kind)
        assert (own["spec"]["selector"].items() <= labels.items()) is wanted, kind


def test_stages_reach_what_they_need_and_no_more(closed: list[Object]) -> None:
    """DNS, the store, the operator's port and each other; nothing without ports or peers."""
    names, store, operator, peers = _policy(closed, "-stages")["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert (_ports(store), _ports(operator)) == ({9000}, {8080})
    assert _selects(store["to"][0]["podSelector"], _pod_labels(closed, "StatefulSet"))
    assert _selects(operator["to"][0]["podSelector"], _pod_labels(closed, "Deployment"))
    # Without a namespaceSelector these are pods of the stage's own namespace.
    assert peers["to"] == [{"podSelector": _policy(closed, "-stages")["podSelector"]}]
    assert _policy(closed, "-minio")["egress"] == []


def _ports(rule: Object) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def test_the_operator_lets_stages_of_its_namespaces_in(closed: list[Object]) -> None:
    """Stages report from the namespaces that are served; anybody may scrape unless said otherwise."""
    [rule] = _policy(closed, "")["ingress"]
    release, stages, scrapers = rule["from"]
    assert _ports(rule) == {8080}
    assert _selects(release["podSelector"], _pod_labels(closed, "Deployment"))
    assert _selects(stages["podSelector"], _stage())
    [wanted] = stages["namespaceSelector"]["matchExpressions"]
    assert wanted["values"] == ["red"]
    assert scrapers == {"namespaceSelector": {}}


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ("store.endpoint=", {443}),
        ("store.endpoint=https://s3.example.com", {443}),
        ("store.endpoint=http://s3.example.com", {80}),
        ("store.endpoint=http://minio.minio.svc:9000", {9000}),
        ("store.endpoint=https://a:8333,store.workerEndpoint=http://b:9000", {8333, 9000}),
        ("store.endpoint=http://s3:80,networkPolicy.store.ports={9000}", {9000}),
    ],
)
def test_the_stores_port_is_the_endpoints(chart: Path, given: str, ports: set[int]) -> None:
    """Without ports in the values those of the endpoints are open."""
    objects = rendering.render(chart, *ON, "--set", given)
    assert _ports(_policy(objects, "")["egress"][1]) == ports
    assert _ports(_policy(objects, "-stages")["egress"][1]) == ports


def test_the_operator_alone_reaches_an_sts_of_its_own(chart: Path) -> None:
    """An STS that is another server than the store is open to the operator, by its port."""
    given = "store.endpoint=http://s3:9000,store.sts.enabled=true,store.sts.endpoint=https://sts"
    objects = rendering.render(chart, *ON, "--set", given)
    rules = [_ports(rule) for rule in _policy(objects, "")["egress"]]
    assert rules[1:3] == [{9000}, {443}]
    assert {443} not in [_ports(r) for r in _policy(objects, "-stages")["egress"] if "ports" in r]


def test_imports_are_those_of_the_planner(chart: Path) -> None:
    """The policy for imports selects every job that imports, of both kinds, and no other."""
    rule = '{"ports": [{"port": 443}]}'
    objects = rendering.render(
        chart, *ON, "--set-json", f"networkPolicy.stages.importEgress=[{rule}]"
    )
    selector = _policy(objects, "-imports")["podSelector"]
    importing, others = _jobs()
    for name in importing | others:
        labels = {**_stage(), "autodidact.dev/job": name}
        assert _selects(selector, labels) is (name in importing), name


def _jobs() -> tuple[set[str], set[str]]:
    """Returns the jobs that import, each with a Secret and without, and all others."""
    secret: dict[str, Any] = {"secretName": "keys"}
    everything = {
        "instructions": {"uri": "s3://a/i", **secret},
        "evaluations": {"uri": "s3://a/e", **secret},
        "heldOut": {"uri": "s3://a/h", **secret},
    }
    model = {"uri": "s3://a/m", **secret}
    splits = {name: {"uri": f"s3://a/{name}", **secret} for name in ("train", "validation", "test")}
    fixed = {"judge": "fixed", "judgeModel": model}
    ranked = {name: {"uri": f"s3://a/{name}", **secret} for name in ("ranked", "validation")}
    asked = {**everything, "questions": {"uri": "s3://a/q", **secret}}
    specs: list[RunSpec] = [
        builders.spec(),
        builders.reft(),
        builders.spec(model=model, data=everything, prompts={"model": model}, evaluation=fixed),
        builders.spec(model=model, data=asked, reward="verifier"),
        SelfRewardSpec.model_validate(
            {"model": model, "data": ranked, "dpo": {"checkpoints": fixed}}
        ),
        ReFTSpec.model_validate({"model": model, "data": splits}),
    ]
    stages = [stage for spec in specs for stage in builders.graph(spec).stages]
    importing = {stage.job for stage in stages if stage.config.stage == "import"}
    # Every field for a source is in one of the specs with a Secret of its own.
    fields = {path for spec in specs for path in _sources(type(spec))}
    assert len(importing) == len(fields) + len({IMPORT})
    return importing, {stage.job for stage in stages} - importing


def _sources(kind: Any, path: str = "") -> set[str]:
    """Returns the paths of all fields for a source, below a type of field."""
    if kind is Source:
        return {path}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return {p for name, f in fields for p in _sources(f.annotation, f"{path}.{name}")}
    return {p for part in get_args(kind) for p in _sources(part, path)}


def test_other_namespaces_get_theirs_by_the_readmes_command(chart: Path) -> None:
    """What the README says renders the policy for stages of any namespace, and nothing else."""
    text = rendering.readme(chart)
    assert "networkPolicy.stages.namespaces={team-a}" in text
    assert "--show-only templates/stagepolicies.yaml" in text
    objects = rendering.render(
        chart,
        *("--set", "networkPolicy.enabled=true,networkPolicy.stages.namespaces={team-a}"),
        *("--show-only", "templates/stagepolicies.yaml"),
    )
    assert [(item["kind"], item["metadata"]["namespace"]) for item in objects] == [
        ("NetworkPolicy", "team-a")
    ]
