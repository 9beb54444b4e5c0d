"""Rules between the fields of a manifest, each written once for the API server and for Python."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import ConfigDict, model_validator

from autodidact_contract.base import Schema

SchemaT = TypeVar("SchemaT", bound=Schema)

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, kw_only=True)
class Rule(Generic[SchemaT]):
    """A rule that a value must keep.

    Attributes:
        message: What is wrong where it does not hold, and what to do.
        cel: The rule for the API server; empty where only Python knows it.
        holds: The rule for Python; None where only the API server knows it.
    """

    message: str
    cel: str = ""
    holds: Callable[[SchemaT], bool] | None = None


def validations(model: type["Ruled"]) -> list[dict[str, str]]:
    """Returns the rules of a class as the API server takes them."""
    return [{"rule": rule.cel, "message": rule.message} for rule in model.RULES if rule.cel]


def _extend(schema: dict[str, Any], model: type["Ruled"]) -> None:
    """Adds the rules of a class to its JSON schema."""
    if found := validations(model):
        schema[VALIDATIONS] = found


class Ruled(Schema):
    """A schema with rules between its fields.

    Attributes:
        RULES: They are looked at in this order; the first that does not hold is named.
    """

    model_config = ConfigDict(json_schema_extra=_extend)

    RULES: ClassVar[tuple[Rule[Any], ...]] = ()

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        for rule in self.RULES:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self
