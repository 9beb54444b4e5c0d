"""Walks over schemas and models, and what the API server does with defaults."""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, get_args

from pydantic import BaseModel

from autodidact_contract.api.rules import Rule

Schema = Mapping[str, Any]


def schemas(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields every schema in a schema, with where it is."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(name), Mapping):
            yield from schemas(inner, f"{path}[]")


def defaulted(value: Any, schema: Schema) -> Any:
    """Returns a value with a structural schema's defaults, as the API server fills them in."""
    if value is None and "default" in schema and not schema.get("nullable"):
        value = deepcopy(schema["default"])
    if isinstance(value, Mapping):
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in filled and "default" in inner:
                filled[name] = deepcopy(inner["default"])
            if name in filled:
                filled[name] = defaulted(filled[name], inner)
        return filled
    if isinstance(value, list) and "items" in schema:
        return [defaulted(item, schema["items"]) for item in value]
    return value


def unnamed(model: type[BaseModel], given: Any, path: str = "spec") -> Iterator[str]:
    """Yields the fields of a model, at any depth, that a manifest does not name."""
    for name, field in model.model_fields.items():
        outside = field.alias or name
        if not isinstance(given, Mapping) or outside not in given:
            yield f"{path}.{outside}"
            continue
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and given[outside]:
                yield from unnamed(inner, given[outside], f"{path}.{outside}")


def unknown_fields(rules: Iterable[Rule[Any]], spec: Schema) -> set[tuple[str, str]]:
    """Returns message and field of each rule that asks the API server about no field of a spec."""
    paths = {path for path, _ in schemas(spec)}
    return {
        (rule.message, found)
        for rule in rules
        for name in re.findall(r"self((?:\.[a-zA-Z]+)+)(?![a-zA-Z(_])", rule.cel)
        if (found := name.removesuffix(".exists")) not in paths
    }
