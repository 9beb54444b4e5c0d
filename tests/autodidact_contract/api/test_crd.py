import re
from typing import Any

import pytest
import yaml

from autodidact_contract.api.crd import definitions
from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.api.run import MUTABLE, RunSpec
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator import cli
from autodidact_operator.plan.graphs.reft import SPLITS
from autodidact_operator.plan.recipes import BY_KIND, RECIPES
from support import schemas
from support.builders import EXAMPLES, MINIMAL, ROOT

PLACES = (ROOT / "crds", ROOT / "charts" / "autodidact-operator" / "files" / "crds")
DEFINITIONS = definitions()


def schema(plural: str) -> dict[str, Any]:
    """Returns the schema of a kind."""
    return DEFINITIONS[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


NODES = [
    (f"{plural}{path}", inner)
    for plural in DEFINITIONS
    for path, inner in schemas.schemas(schema(plural))
]
"""Every schema of every definition, with its path."""


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name + place.parent.name)
def test_generated_files_are_up_to_date(place: Any) -> None:
    """The definitions in the repository and in the chart are what the models say."""
    written = [path for path in place.glob("*.yaml") if path.name != "kustomization.yaml"]
    assert {path.stem: yaml.safe_load(path.read_text()) for path in written} == DEFINITIONS


def test_every_recipe_has_a_definition() -> None:
    """Each kind of run the operator knows is one the API server knows, under the same names."""
    for recipe in RECIPES:
        names = DEFINITIONS[recipe.plural]["spec"]["names"]
        assert (names["kind"], names["plural"]) == (recipe.kind, recipe.plural)


def test_schemas_are_structural() -> None:
    """Every schema has one type and uses nothing a structural schema may not."""
    assert [path for path, inner in NODES if not _is_structural(inner)] == []


def _is_structural(inner: dict[str, Any]) -> bool:
    return (
        inner["type"] in ("object", "array", "string", "integer", "number", "boolean")
        and not inner.keys() & {"$ref", "$defs", "anyOf", "allOf", "oneOf", "not", "const", "title"}
        and all(
            inner.get(bound, True) is True for bound in ("exclusiveMinimum", "exclusiveMaximum")
        )
        and (inner["type"] == "array") == ("items" in inner)
        and not ("properties" in inner and "additionalProperties" in inner)
        and ("default" not in inner or inner["default"] is not None)
    )


def test_schemas_are_bounded() -> None:
    """Strings and lists have a longest length, so that the cost of rules is known."""
    endless = [
        path
        for path, inner in NODES
        if (inner["type"] == "string" and not inner.keys() & {"maxLength", "enum"})
        or (inner["type"] == "array" and inner.get("maxItems", 257) > 256)
    ]
    assert endless == []


def test_every_field_is_described() -> None:
    """`kubectl explain` says something about every field."""
    fields = [(path, inner) for path, inner in NODES if not path.endswith("[]")]
    assert len(fields) > 300
    assert [path for path, inner in fields if not inner.get("description")] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.plural)
def test_what_cannot_be_changed_says_so(recipe: Any) -> None:
    """Every field of a spec is immutable by a rule, save those that may be edited."""
    fields = schema(recipe.plural)["properties"]["spec"]["properties"]
    for name, field in fields.items():
        rules = [rule["rule"] for rule in field.get("x-kubernetes-validations", ())]
        assert ("self == oldSelf" in rules) == (name not in MUTABLE)


RUNS = sorted(EXAMPLES.glob("*.yaml"))


def run_in(path: Any) -> dict[str, Any]:
    """Returns the run in an example."""
    documents = [doc for doc in yaml.safe_load_all(path.read_text()) if doc]
    return next(doc for doc in documents if doc["kind"] in BY_KIND)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_example_expands_to_a_graph(path: Any) -> None:
    """Every example is valid, and every input in its graph is made by an earlier stage."""
    body = run_in(path)
    recipe = BY_KIND[body["kind"]]
    made: set[str] = set()
    for stage in recipe.graph(recipe.spec.model_validate(body["spec"]), "salt").stages:
        assert made.issuperset((*stage.inputs.values(), *stage.after))
        made.add(stage.name)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_example_is_valid_for_the_command_line(path: Any) -> None:
    """`autodidact validate` takes every example."""
    cli.validate.callback((path,))  # type: ignore[misc]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_example_names_known_fields_only(path: Any) -> None:
    """No field of an example would be pruned by the API server."""
    body = run_in(path)
    _no_unknown(body["spec"], schema(BY_KIND[body["kind"]].plural)["properties"]["spec"])


def _no_unknown(value: Any, of: Any) -> None:
    if isinstance(value, dict) and "properties" in of:
        assert value.keys() <= of["properties"].keys()
        for name, inner in value.items():
            _no_unknown(inner, of["properties"][name])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.plural)
def test_full_example_names_every_field(recipe: Any) -> None:
    """The full example shows every field, at any depth, save those that other examples show."""
    runs = {path.stem: run_in(path) for path in RUNS if _is(path, recipe)}
    [full] = [body for stem, body in runs.items() if stem.endswith("-full")]
    missing = set(schemas.unnamed(recipe.spec, full["spec"]))
    for body in runs.values():
        missing &= set(schemas.unnamed(recipe.spec, body["spec"]))
    assert missing == set()


def _is(path: Any, recipe: Any) -> bool:
    return run_in(path)["kind"] == recipe.kind


QUESTIONS: dict[str, Any] = {
    "model": {"uri": "s3://inputs/base"},
    "data": {split: {"uri": f"s3://inputs/{split}.jsonl"} for split in SPLITS},
}
DEFAULTED: dict[str, tuple[type[RunSpec], dict[str, Any]]] = {
    "minimal": (SelfRewardSpec, MINIMAL),
    "null gate": (
        SelfRewardSpec,
        MINIMAL | {"gates": {"minPairs": None, "minMeanGap": {"limit": 1}}},
    ),
    "parts": (
        SelfRewardSpec,
        MINIMAL | {"warmUp": {"epochs": 1}, "dpo": {"beta": 0.2}, "compute": {"train": "gpu"}},
    ),
    "empty": (
        SelfRewardSpec,
        MINIMAL | {"judge": {}, "prompts": {}, "gates": {}, "evaluation": {}},
    ),
    "reft minimal": (ReFTSpec, QUESTIONS),
    "reft parts": (
        ReFTSpec,
        QUESTIONS
        | {"lora": {}, "warmUp": {"untilAccuracy": 0.4}, "ppo": {"beta": 0.1}, "reranker": {}},
    ),
}
PLURAL = {recipe.spec: recipe.plural for recipe in RECIPES}


@pytest.mark.parametrize(("spec", "given"), DEFAULTED.values(), ids=DEFAULTED)
def test_defaults_of_the_api_server_are_the_models(
    spec: type[RunSpec], given: dict[str, Any]
) -> None:
    """A run means the same whether the API server or the model fills in what it leaves out."""
    filled = schemas.defaulted(given, schema(PLURAL[spec])["properties"]["spec"])
    assert spec.model_validate(filled) == spec.model_validate(given)
    dumped = spec.model_validate(given).dump()
    assert {k: v for k, v in filled.items() if k != "gates"} == {
        k: v for k, v in dumped.items() if k != "gates"
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.plural)
def test_defaults_keep_the_schemas_own_limits(recipe: Any) -> None:
    """Every default is one that the schema would let a user write."""
    for _, inner in schemas.schemas(schema(recipe.plural)):
        if isinstance(value := inner.get("default"), str) and "pattern" in inner:
            assert re.search(inner["pattern"], value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert inner.get("minimum", value) <= value <= inner.get("maximum", value)
