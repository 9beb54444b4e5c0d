import pytest

from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_contract.stages.registry import SHARDED
from support.builders import graph, spec
from support.specs import OPTIONS, SPECS


@pytest.mark.parametrize("of", SPECS.values(), ids=SPECS)
def test_each_model_judges_itself(of: SelfRewardSpec) -> None:
    """M(t) answers, judges its answers, and is where the DPO that makes M(t+1) starts."""
    found = graph(of)
    for t in range(1, of.iterations + 1):
        model = "train-sft" if t == 1 else f"train-dpo-{t - 1}"
        assert found.models[t] == model
        assert found[f"generate-responses-{t}"].inputs["model"] == model
        assert found[f"judge-{t}"].inputs["model"] == model
        assert found[f"train-dpo-{t}"].inputs == {"model": model, "pairs": f"build-pairs-{t}"}
        assert found[f"evaluate-{t}"].inputs["model"] == found.models[t + 1]
        assert found[f"evaluate-{t}"].inputs["previous"] == model
    assert found["evaluate-0"].inputs["model"] == "train-sft"


@pytest.mark.parametrize("of", {**SPECS, **OPTIONS}.values(), ids={**SPECS, **OPTIONS})
def test_iterations_are_numbered(of: SelfRewardSpec) -> None:
    """A stage of iteration t ends in t; imports, warm-up and evaluate-0 are of iteration 0."""
    found = graph(of)
    for stage in found.stages:
        number = stage.name.rpartition("-")[2]
        if number.isdecimal():
            assert stage.iteration == int(number)
        elif stage.name == "report":
            assert stage.iteration == found.iterations
        else:
            assert stage.iteration == 0


def test_one_pod_samples_all() -> None:
    """Prompts, responses and judgements of an iteration share one process where shards is 1."""
    jobs = {stage.name: stage.job for stage in graph().stages}
    sample = ["generate-prompts-1", "generate-responses-1", "judge-1"]
    assert {jobs[name] for name in sample} == {"sample-1"}


def test_shards_split_the_sample_job() -> None:
    """With shards each sampling stage is a Job of its own, and only those that can be cut are."""
    found = graph(spec(shards=8))
    for stage in found.stages:
        assert stage.shards == (8 if stage.config.stage in SHARDED else 1)
    assert found["judge-1"].job == "judge-1"


def test_fixed_writer_is_m1() -> None:
    """Without a model of its own the fixed prompt writer is M1 in every iteration."""
    found = graph(spec(iterations=3))
    assert [found[f"generate-prompts-{t}"].inputs["model"] for t in (1, 2, 3)] == ["train-sft"] * 3


def test_self_writer_is_the_current_model() -> None:
    """With generator self M(t) writes the prompts of iteration t, also where a model is named."""
    changes = {"generator": "self", "model": {"uri": "toy://selfreward/model"}}
    found = graph(spec(prompts=changes))
    writers = [found[f"generate-prompts-{t}"].inputs["model"] for t in (1, 2)]
    assert writers == ["train-sft", "train-dpo-1"]


def test_writer_never_repeats_itself() -> None:
    """Each iteration's prompts have another seed and know the accepted ones before them."""
    found = graph(spec(iterations=3, seed=5))
    assert [found[f"generate-prompts-{t}"].config.seed for t in (1, 2, 3)] == [5, 6, 7]
    third = found["generate-prompts-3"].inputs
    assert (third["accepted-1"], third["accepted-2"]) == (
        "generate-prompts-1",
        "generate-prompts-2",
    )
