from typing import Any

import pytest

from autodidact_operator.plan.recipes import BY_KIND
from autodidact_operator.runs.specs import RefusedError, interpret
from support import admission
from support.builders import MINIMAL, REFT, graph, merged

PREFIXES = ("toy://", "s3://inputs/{namespace}/", "s3://public/")
SPECS = {"SelfRewardRun": MINIMAL, "ReFTRun": REFT}


def body(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a run whose sources are all open, with changes of its spec."""
    data = {name: {"uri": f"s3://public/{name}"} for name in SPECS[kind]["data"]}
    opened = {"model": {"uri": "s3://inputs/research/base"}, "data": data}
    return {
        "metadata": {
            "name": "a",
            "namespace": "research",
            "uid": "u",
            "generation": 1,
            "creationTimestamp": "2026-03-01T12:00:00Z",
        },
        "spec": merged(merged(SPECS[kind], opened), changes),
    }


@pytest.mark.parametrize(("kind", "changes", "_"), admission.CONTRADICTIONS)
def test_contradictions_are_refused_without_an_api_server(
    kind: str, changes: dict[str, Any], _: str
) -> None:
    """What the rules of the definitions refuse, local mode and the operator refuse too."""
    contradicting = body(kind, {}) | {"spec": {**admission.MINIMAL[kind], **changes}}
    with pytest.raises(RefusedError) as caught:
        interpret(BY_KIND[kind], contradicting, ("toy://", "s3://autodidact/public/"))
    assert caught.value.reason == "InvalidSpec"


@pytest.mark.parametrize("kind", SPECS)
def test_open_locations_are_taken(kind: str) -> None:
    """What the administrator's prefixes open needs no Secret, and becomes a graph."""
    run = interpret(BY_KIND[kind], body(kind, {}), PREFIXES)
    assert (run.ref.kind, run.ref.name) == (kind, "a")
    assert graph(run.spec)["import-model"].secret is None


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://inputs/others/base", "may import from toy://, s3://inputs/research/, s3://public/"),
        ("s3://inputs/research-evil/base", "may import from"),
        ("hf://org/name", "may import from"),
        ("s3://inputs/research/../others/base", "has no '..'"),
        ("s3://inputs/research/./base", "has no '..'"),
        ("file:///etc/passwd", "local mode"),
    ],
)
def test_closed_locations_are_refused(kind: str, uri: str, words: str) -> None:
    """The operator refuses them too, for clusters whose admission policy is switched off."""
    with pytest.raises(RefusedError, match=words) as caught:
        interpret(BY_KIND[kind], body(kind, {"model": {"uri": uri}}), PREFIXES)
    assert caught.value.reason == "LocationNotAllowed"


def test_a_secret_opens_a_location() -> None:
    """A location with a Secret of the run's namespace is read with that, so it may be anywhere."""
    source = {"uri": "s3://elsewhere/base", "secretName": "keys"}
    run = interpret(BY_KIND["ReFTRun"], body("ReFTRun", {"model": source}), PREFIXES)
    import_stage = graph(run.spec)["import-model"]
    assert (import_stage.job, import_stage.secret) == ("import-model", "keys")


JUDGED = {"evaluation": {"judge": "endpoint"}}
CHECKED = {
    "data": {"validation": {"uri": "s3://public/validation"}},
    "dpo": {"checkpoints": {"judge": "endpoint"}},
}


def asking(where: str, url: str, **more: str) -> dict[str, Any]:
    """Returns a run that asks a server at the end, or while it trains."""
    endpoint = {"url": url, "model": "judge-1", **more}
    if where == "evaluation":
        return body("SelfRewardRun", merged(JUDGED, {"evaluation": {"endpoint": endpoint}}))
    checkpoints = {"dpo": {"checkpoints": {"endpoint": endpoint}}}
    return body("SelfRewardRun", merged(CHECKED, checkpoints))


SERVERS = (*PREFIXES, "https://judge.example", "https://both.example/{namespace}/")


@pytest.mark.parametrize("where", ["evaluation", "checkpoints"])
@pytest.mark.parametrize(
    "url",
    ["https://judge.example", "https://judge.example/v1", "https://both.example/research"],
)
def test_open_servers_are_asked(where: str, url: str) -> None:
    """A prefix opens the server's addresses, with a slash at its end or without."""
    run = interpret(BY_KIND["SelfRewardRun"], asking(where, url), SERVERS)
    stages = [stage for stage in graph(run.spec).stages if url in stage.config.model_dump_json()]
    assert {stage.config.stage for stage in stages} == {
        "evaluate" if where == "evaluation" else "train-dpo"
    }


@pytest.mark.parametrize("where", ["evaluation", "checkpoints"])
@pytest.mark.parametrize(
    "url",
    [
        "https://judge.example.evil/v1",
        "https://judge.example:8443/v1",
        "http://judge.example/v1",
        "http://169.254.169.254/latest",
        "https://both.example/others",
        "https://both.example/research-evil",
    ],
)
def test_closed_servers_are_refused(where: str, url: str) -> None:
    """Any other server, scheme and port; the sentence has the address and what is open."""
    with pytest.raises(RefusedError, match=r"may import from .*https://judge\.example, ") as caught:
        interpret(BY_KIND["SelfRewardRun"], asking(where, url), SERVERS)
    assert str(caught.value).startswith(f"{url}: ")
    assert caught.value.reason == "LocationNotAllowed"


def test_a_secret_opens_a_server() -> None:
    """It is mounted where the server is asked, and nowhere else."""
    given = asking("checkpoints", "https://elsewhere.example/v1", secretName="keys")
    run = interpret(BY_KIND["SelfRewardRun"], given, PREFIXES)
    secrets = {stage.name: stage.secret for stage in graph(run.spec).stages if stage.secret}
    assert secrets == {"train-dpo-1": "keys", "train-dpo-2": "keys"}


def test_no_server_is_reached_by_climbing() -> None:
    """Dots that would leave what a prefix opens are refused."""
    given = asking("evaluation", "https://both.example/research/../others")
    with pytest.raises(RefusedError, match=r"has no '\.\.'"):
        interpret(BY_KIND["SelfRewardRun"], given, SERVERS)


def test_a_spec_that_is_none_says_where() -> None:
    """What the API server let through and the models do not is named with its path."""
    with pytest.raises(RefusedError, match=r"spec\.ppo\.clipRatio") as caught:
        interpret(BY_KIND["ReFTRun"], body("ReFTRun", {"ppo": {"clipRatio": 2}}), PREFIXES)
    assert caught.value.reason == "InvalidSpec"
