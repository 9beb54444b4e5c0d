from autodidact_contract.stages.data import Import
from support.builders import graph, spec
from support.specs import SPECS


def test_secret_gets_a_job_of_its_own() -> None:
    """A source with a Secret is imported alone, so that no other server sees its keys."""
    source = {"uri": "s3://theirs/base", "secretName": "keys"}
    found = graph(spec(model=source, data={"heldOut": {**source, "uri": "s3://theirs/ranks"}}))
    assert (found["import-model"].job, found["import-model"].secret) == ("import-model", "keys")
    assert found["import-heldout"].job == "import-heldout"
    assert (found["import-instructions"].job, found["import-instructions"].secret) == (
        "import",
        None,
    )


def test_external_writer_is_imported() -> None:
    """With prompts.model that model writes the prompts of every iteration."""
    found = graph(SPECS["writer"])
    assert [found[f"generate-prompts-{t}"].inputs["model"] for t in (1, 2)] == ["import-writer"] * 2
    assert found["import-writer"].config == Import(uri="hf://org/chat@0123456", content="model")
