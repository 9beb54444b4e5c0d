from typing import Any

import pytest

from autodidact_operator.recipes import BY_KIND
from autodidact_operator.specs import RefusedError, interpret
from planning.builders import MINIMAL, REFT, graph, merged

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


def test_a_spec_that_is_none_says_where() -> None:
    """What the API server let through and the models do not is named with its path."""
    with pytest.raises(RefusedError, match=r"spec\.ppo\.clipRatio") as caught:
        interpret(BY_KIND["ReFTRun"], body("ReFTRun", {"ppo": {"clipRatio": 2}}), PREFIXES)
    assert caught.value.reason == "InvalidSpec"
