"""The rules between the fields of a ReFTRun."""

from autodidact_contract.api.crd import definitions
from autodidact_contract.api.reft_rules import RULES
from support.schemas import unknown_fields

SPEC = definitions()["reftruns"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_rules_name_fields_that_there_are() -> None:
    """Each field that a rule asks the API server about is one of the manifest."""
    assert len(unknown_fields(RULES, {})) > 8
    assert unknown_fields(RULES, SPEC["properties"]["spec"]) == set()


def test_messages_differ() -> None:
    """Whoever reads a message knows which rule it is."""
    assert len({rule.message for rule in RULES}) == len(RULES)
