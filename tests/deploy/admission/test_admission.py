"""What the API server refuses by itself: there is no operator in these tests."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
import yaml

from autodidact_contract.api.crd import definitions
from support.admission import PLURALS, PROFILES, Case, good, hostile
from support.chart import rendering
from tools.cluster.control_plane import Cluster
from tools.cluster.waiting import eventually
from tools.paths import EXAMPLES

NAMESPACE = "lab"
pytestmark = pytest.mark.cluster


@dataclass(frozen=True, kw_only=True)
class Door:
    """The API server's way to create runs in a namespace, without storing them."""

    host: str
    tls: ssl.SSLContext

    def knock(self, case: Case) -> tuple[int, str]:
        """Sends a run as it is; returns the HTTP status and the message."""
        return self.ask(f"namespaces/{NAMESPACE}/{PLURALS[case.kind]}", case.body)

    def ask(self, path: str, body: str) -> tuple[int, str]:
        """Sends the manifest of an object that is to be created below a path of the group."""
        url = f"/apis/autodidact.dev/v1alpha1/{path}?dryRun=All&fieldValidation=Strict"
        headers = {"Content-Type": "application/yaml"}
        connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
        with closing(connection):
            connection.request("POST", url, body.encode(), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        return answer.status, "" if answer.status < 300 else told.get("message", "")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A control plane with the chart's definitions and admission policy, and nothing else of it."""
    chart = rendering.copy(tmp_path_factory.mktemp("chart"))
    wanted = ("CustomResourceDefinition", "ValidatingAdmissionPolicy")
    objects = [
        item for item in rendering.render(chart) if item["kind"].removesuffix("Binding") in wanted
    ]
    with Cluster() as cluster:
        cluster.apply(*objects)
        cluster.create_namespace(NAMESPACE)
        for plural in definitions():
            crd = f"crd/{plural}.autodidact.dev"
            cluster.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
        found = Door(host=cluster.api_url.removeprefix("https://"), tls=_tls(cluster))
        closed = next(case for case in hostile() if "may import from" in case.words[0])
        # The API server learns of a policy a moment after it was created.
        eventually(lambda: found.knock(closed)[0] != 201, 30)
        yield found


def _tls(cluster: Cluster) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(cluster.certificate_authority))
    pair = cluster.issue_certificate("admission", "admission", "system:masters")
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_there_are_enough_cases() -> None:
    """At least 300 manifests must be refused and 100 taken, all of them different."""
    assert len({case.body for case in hostile()}) >= 300
    assert len({case.body for case in good()}) >= 100


def test_hostile_or_nonsensical_runs_are_refused(door: Door) -> None:
    """The API server refuses each manifest, and its message names what is wrong."""
    wrong = []
    for case in hostile():
        status, message = door.knock(case)
        if not 400 <= status < 500 or any(words not in message for words in case.words):
            wrong.append((case.name, status, message, case.words))
    assert wrong == []


def test_good_runs_are_taken(door: Door) -> None:
    """Whatever is within the limits is created."""
    answers = {case.name: door.knock(case) for case in good()}
    assert {name: answer for name, answer in answers.items() if answer != (201, "")} == {}


@pytest.mark.parametrize(("spec", "message"), PROFILES)
def test_profiles_name_an_engine_and_what_it_needs(
    door: Door, spec: dict[str, str], message: str
) -> None:
    """An engine's address goes with its engine, and holds no secret."""
    profile = {
        "apiVersion": "autodidact.dev/v1alpha1",
        "kind": "ComputeProfile",
        "metadata": {"name": "case"},
        "spec": spec,
    }
    status, told = door.ask("computeprofiles", json.dumps(profile))
    assert (status == 201) == (not message), told
    assert message in told


def test_the_policy_knows_every_source() -> None:
    """Every field of a run that names a location is one that the policy looks at."""
    policy = (rendering.CHART / "templates" / "admissionpolicy.yaml").read_text()
    for plural in PLURALS.values():
        version = definitions()[plural]["spec"]["versions"][0]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path in _sources(spec, ()):
            known = (f'"{path[-1]}"', f"referee.{path[-1]}", ".".join(("object.spec", *path)))
            assert any(name in policy for name in known), path


def _sources(schema: dict, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in schema.get("properties", {}).items():
        fields = inner.get("properties", {}).keys()
        if "secretName" in fields and fields & {"uri", "url"}:
            yield (*path, name)
        else:
            yield from _sources(inner, (*path, name))


def test_examples_name_known_kinds() -> None:
    """The kinds of the corpus are all the kinds of runs that there are."""
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in EXAMPLES.glob("*.yaml")}
    assert kinds <= PLURALS.keys()
