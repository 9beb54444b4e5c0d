"""Every rule between fields is broken by a manifest that the API server's tests refuse as well."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from autodidact_contract.api.kinds import BY_KIND, KINDS
from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.referee import Endpoint, Referee
from autodidact_contract.api.rules import Rule, Ruled
from autodidact_contract.api.run import Source
from support.admission import CONTRADICTIONS, LOCATIONS, MINIMAL, PROFILES

SPECS: dict[str, type[Ruled]] = {
    **{row.kind: row.spec for row in KINDS},
    "ComputeProfile": ComputeProfileSpec,
}
MANIFESTS: list[tuple[str, dict[str, Any], str]] = [
    *((kind, {**MINIMAL[kind], **changes}, words) for kind, changes, words in CONTRADICTIONS),
    *(("ComputeProfile", spec, words) for spec, words in PROFILES if words),
]
"""Kind, spec, and what the API server's refusal names."""


def ruled(cls: type[Ruled] = Ruled) -> Iterator[type[Ruled]]:
    """Yields every class with rules of its own."""
    for inner in cls.__subclasses__():
        if inner.__dict__.get("RULES"):
            yield inner
        yield from ruled(inner)


RULES = [(cls, rule) for cls in dict.fromkeys(ruled()) for rule in cls.RULES]


def broken(value: BaseModel) -> Iterator[str]:
    """Yields the message of each rule that a value or a part of it breaks."""
    if isinstance(value, Ruled):
        for rule in value.RULES:
            if rule.holds is not None and not rule.holds(value):
                yield rule.message
    for name in type(value).model_fields:
        if isinstance(inner := getattr(value, name), BaseModel):
            yield from broken(inner)


def unchecked(kind: str, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """Returns a spec whose rules were not looked at."""
    with monkeypatch.context() as patch:
        for cls in dict.fromkeys(ruled()):
            patch.setattr(cls, "RULES", ())
        return SPECS[kind].model_validate(spec)


def test_the_classes_with_rules_are_known() -> None:
    """Nothing else has rules, so that no rule is overlooked here."""
    assert set(ruled()) == {*SPECS.values(), Source, Referee, Endpoint}


@pytest.mark.parametrize(
    ("cls", "rule"), RULES, ids=[f"{cls.__name__}: {rule.message[:60]}" for cls, rule in RULES]
)
def test_a_manifest_breaks_this_rule_alone(
    cls: type[Ruled], rule: Rule[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python refuses it for this rule; the API server's corpus has it with the same message."""
    if rule.holds is None:
        assert any(words in rule.message for words in LOCATIONS.values())
        return
    found = [
        (kind, spec)
        for kind, spec, words in MANIFESTS
        if words in rule.message and (SPECS[kind] is cls or cls not in SPECS.values())
    ]
    if not rule.cel:
        found = [("SelfRewardRun", {**MINIMAL["SelfRewardRun"], "answers": {"latex": True}})]
    alone = [
        (kind, spec)
        for kind, spec in found
        if list(broken(unchecked(kind, spec, monkeypatch))) == [rule.message]
    ]
    assert alone, found
    for kind, spec in alone:
        with pytest.raises(ValidationError, match=re.escape(rule.message)):
            SPECS[kind].model_validate(spec)


@pytest.mark.parametrize("kind", BY_KIND)
def test_the_least_manifest_keeps_all_rules(kind: str) -> None:
    """A manifest with nothing but what is required breaks no rule."""
    assert list(broken(SPECS[kind].model_validate(MINIMAL[kind]))) == []
