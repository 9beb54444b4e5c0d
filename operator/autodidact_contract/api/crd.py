"""CustomResourceDefinitions from the models: structural schemas, CEL rules, printer columns."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from autodidact_contract.api.kinds import KINDS, Kind
from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.rules import VALIDATIONS, validations
from autodidact_contract.api.run import MUTABLE
from autodidact_contract.api.status import RunStatus
from autodidact_contract.base import GROUP, VERSION

MAX_STRING = 4096
"""Given to strings without a limit of their own, so that the API server can bound rule costs."""

MAX_ITEMS = 256

_KEPT = frozenset(
    {
        "type",
        "description",
        "default",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        VALIDATIONS,
    }
)

RUN_COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Iteration", "string", ".status.iteration", 0),
    ("Stage", "string", ".status.stage", 0),
    ("Progress", "string", ".status.progress", 0),
    ("Score", "string", ".status.score", 0),
    ("ETA", "string", ".status.eta", 1),
    ("Model", "string", ".status.model", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)

PROFILE_COLUMNS = (
    ("Nodes", "integer", ".spec.nodes", 0),
    ("Processes", "integer", ".spec.processesPerNode", 0),
    ("Deepspeed", "string", ".spec.deepspeed", 0),
    ("Queue", "string", ".spec.queueName", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def definitions() -> dict[str, dict[str, Any]]:
    """Returns the CustomResourceDefinition of every kind by its plural."""
    return {
        **{row.plural: _run(row) for row in KINDS},
        "computeprofiles": _definition(
            kind="ComputeProfile",
            plural="computeprofiles",
            short="cprof",
            scope="Cluster",
            description="A ComputeProfile says where and how the Jobs of runs execute. The "
            "administrator owns it; runs name it. What it held is fixed in each Job that was "
            "created from it.",
            properties={"spec": structural(ComputeProfileSpec)},
            columns=PROFILE_COLUMNS,
            rules=(),
            subresources={},
        ),
    }


def _run(row: Kind) -> dict[str, Any]:
    schema = structural(row.spec)
    _freeze(schema)
    schema[VALIDATIONS] = [*validations(row.spec), *schema.pop(VALIDATIONS)]
    return _definition(
        kind=row.kind,
        plural=row.plural,
        short=row.short,
        scope="Namespaced",
        description=row.description,
        properties={"spec": schema, "status": _status()},
        columns=RUN_COLUMNS,
        rules=(
            (
                "size(self.metadata.name) <= 63",
                "metadata.name must be at most 63 characters: it becomes a label of the Jobs",
            ),
        ),
        subresources={"subresources": {"status": {}}},
    )


def _definition(
    *,
    kind: str,
    plural: str,
    short: str,
    scope: str,
    description: str,
    properties: Mapping[str, Any],
    columns: Iterable[tuple[str, str, str, int]],
    rules: Iterable[tuple[str, str]],
    subresources: Mapping[str, Any],
) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": dict(properties),
    }
    if found := [{"rule": rule, "message": message} for rule, message in rules]:
        schema[VALIDATIONS] = found
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["autodidact"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, "priority": priority}
                        for name, type_, path, priority in columns
                    ],
                    **subresources,
                }
            ],
        },
    }


def _freeze(schema: dict[str, Any]) -> None:
    """Makes every field of a spec immutable, save those in ``MUTABLE``."""
    added = []
    for name, field in schema["properties"].items():
        if name in MUTABLE:
            continue
        message = (
            f"spec.{name} is immutable; create a new run, which adopts every stage "
            "that does not depend on the change"
        )
        rules = field.setdefault(VALIDATIONS, [])
        rules.append({"rule": "self == oldSelf", "message": message})
        if "default" not in field and name not in schema.get("required", ()):
            added.append({"rule": f"has(self.{name}) == has(oldSelf.{name})", "message": message})
    schema[VALIDATIONS] = added


def _status() -> dict[str, Any]:
    schema = structural(RunStatus)
    conditions = schema["properties"]["conditions"]
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]
    conditions["items"]["properties"]["lastTransitionTime"]["format"] = "date-time"
    # Until the operator's first visit, kstatus would take a run without a status for done.
    schema["default"] = {"observedGeneration": 0, "phase": "Pending"}
    return schema


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """Returns a model's schema in the dialect of CustomResourceDefinitions.

    References are resolved, optional fields lose their null unless they have another default,
    exclusive bounds become flags, and what has no length limit is given one.
    """
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        target = defs[schema["$ref"].rpartition("/")[2]]
        return _convert({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, defs)
    if "anyOf" in schema:
        return _optional(schema, defs)
    result = deepcopy({key: value for key, value in schema.items() if key in _KEPT})
    if "const" in schema:
        result["enum"] = [schema["const"]]
    _bounds(schema, result)
    _children(schema, result, defs)
    if result.get("default") is None:
        result.pop("default", None)
    elif result.get("type") == "object" and "properties" in result:
        result["default"] = _object_default(schema, result)
    return result


def _optional(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Converts ``X | None``; a null says something only where the default is not null."""
    (inner,) = (option for option in schema["anyOf"] if option.get("type") != "null")
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    result = _convert({**inner, **rest}, defs)
    if schema.get("default") is not None:
        result["nullable"] = True
    return result


def _object_default(schema: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """An object's default is only what differs from the defaults of its fields."""
    return {
        name: value
        for name, value in schema["default"].items()
        if value is not None
        and not isinstance(value, dict)
        and result["properties"][name].get("default") != value
    }


def _bounds(schema: Mapping[str, Any], result: dict[str, Any]) -> None:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            result[bound] = schema[exclusive]
            result[exclusive] = True
    if result.get("type") == "string" and "enum" not in result:
        result.setdefault("maxLength", MAX_STRING)
    if result.get("type") == "array":
        result.setdefault("maxItems", MAX_ITEMS)


def _children(schema: Mapping[str, Any], result: dict[str, Any], defs: Mapping[str, Any]) -> None:
    if "items" in schema:
        result["items"] = _convert(schema["items"], defs)
    if "properties" in schema:
        result["properties"] = {
            name: _convert(field, defs) for name, field in schema["properties"].items()
        }
        if required := schema.get("required"):
            result["required"] = list(required)
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping) and values:
            result["additionalProperties"] = _convert(values, defs)
        else:
            result["x-kubernetes-preserve-unknown-fields"] = True
