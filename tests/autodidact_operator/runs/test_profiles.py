from typing import Any

from autodidact_operator.runs import profiles
from autodidact_operator.runs.memory import Memory
from support.interpreted import RECIPE


def test_secrets_that_a_pod_may_wait_for_are_named(
    memory: Memory, toy_body: dict[str, Any]
) -> None:
    """The store's, those of the run's inputs and those of its profiles' engines, each once."""
    toy_body["spec"]["data"]["heldOut"]["secretName"] = "inputs"
    run = memory.interpreted(RECIPE, toy_body)
    own = {"default": {"engineSecretName": "engine"}, "gpu": {"engineSecretName": "engine"}}
    assert profiles.secrets(run.spec, own, "store") == ("store", "inputs", "engine")
