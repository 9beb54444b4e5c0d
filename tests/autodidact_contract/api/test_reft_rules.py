"""The rules between the fields of a ReFTRun."""

import re

from autodidact_contract.api.crd import definitions
from autodidact_contract.api.reft_rules import RULES
from support.schemas import schemas

SPEC = definitions()["reftruns"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_rules_name_fields_that_there_are() -> None:
    """Each field that a rule asks the API server about is one of the manifest."""
    paths = {path for path, _ in schemas(SPEC["properties"]["spec"])}
    asked = {
        (rule.message, found.removesuffix(".exists"))
        for rule in RULES
        for found in re.findall(r"self((?:\.[a-zA-Z]+)+)(?![a-zA-Z(_])", rule.cel)
    }
    assert len(asked) > 8
    assert {one for one in asked if one[1] not in paths} == set()


def test_messages_differ() -> None:
    """Whoever reads a message knows which rule it is."""
    assert len({rule.message for rule in RULES}) == len(RULES)
