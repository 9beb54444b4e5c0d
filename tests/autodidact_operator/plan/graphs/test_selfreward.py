from typing import Any

import pytest

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_contract.stages.data import Import
from autodidact_contract.stages.registry import SHARDED
from autodidact_operator.plan.graphs import selfreward
from autodidact_operator.plan.types import Graph
from support import builders, golden
from support.builders import UID, graph, reft, spec
from support.specs import ALL, EVERYTHING, OPTIONS, SPECS, TOY
from support.world import World


def outline(of: Graph) -> list[dict[str, Any]]:
    """Returns a graph as plain values; what is at its default is left out."""
    return [
        {
            "stage": stage.name,
            "job": stage.job,
            "compute": stage.compute,
            **({"iteration": stage.iteration} if stage.iteration else {}),
            **({"inputs": dict(stage.inputs)} if stage.inputs else {}),
            **({"after": list(stage.after)} if stage.after else {}),
            **({"checks": [check.reason for check in stage.checks]} if stage.checks else {}),
            "config": stage.config.dump(),
        }
        for stage in of.stages
    ]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("minimal", spec()),
        ("toy", TOY),
        ("everything", OPTIONS["everything"]),
        ("reft-minimal", reft()),
        ("reft-everything", EVERYTHING),
        ("reft-grpo", reft(algorithm="grpo", reranker={"enabled": False})),
    ],
)
def test_graph_is_as_written_down(name: str, of: RunSpec) -> None:
    """Names, jobs, order and configs of a run's stages do not change by accident."""
    golden.check(f"graph-{name}", outline(graph(of)))


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_inputs_are_made_earlier(of: RunSpec) -> None:
    """The stages are in an order in which they can run, and no name is used twice."""
    made: set[str] = set()
    for stage in graph(of).stages:
        assert made.issuperset((*stage.inputs.values(), *stage.after))
        assert stage.name not in made
        made.add(stage.name)


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_every_run_comes_to_its_end(of: RunSpec) -> None:
    """Whatever is switched on, healthy stages lead to the last model, a full history, a report."""
    world = World(spec=of)
    world.play()
    status, found = world.status, world.graph
    assert (status.phase, status.conditions[0].reason) == ("Succeeded", "Completed")
    assert status.model == world.known[found.models[max(found.models)]].folder
    assert [line.name for line in status.history] == [line.name for line in found.lines]
    assert status.report


@pytest.mark.parametrize(
    ("name", "pairs", "score"),
    [("toy", 40, 3.25), ("implicit", 40, -0.25), ("verifier", 40, 0.5), ("positive", 20, 3.25)],
)
def test_history_has_what_a_round_was_made_of(name: str, pairs: int, score: float | None) -> None:
    """Pairs or positives, the mean reward whoever gave it, and how long the replies became."""
    world = World(spec=ALL[name])
    world.play()
    line = world.status.history[1]
    assert (line.pairs, line.length_ratio) == (pairs, 1.1)
    assert line.mean_score == score


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_stages_of_one_job_agree(of: RunSpec) -> None:
    """Stages that share a process share its compute, its shards, its Secret and its iteration."""
    jobs: dict[str, set[Any]] = {}
    for stage in graph(of).stages:
        what = (stage.compute, stage.shards, stage.secret, stage.training, stage.iteration)
        jobs.setdefault(stage.job, set()).add(what)
    assert all(len(kinds) == 1 for kinds in jobs.values())


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


def test_configs_do_not_know_of_shards() -> None:
    """The number of shards changes no config, or it would change every key."""
    one, many = graph(), graph(spec(shards=8))
    assert [s.config for s in one.stages] == [s.config for s in many.stages]
    assert [s.inputs for s in one.stages] == [s.inputs for s in many.stages]


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


def test_fixed_writer_is_m1() -> None:
    """Without a model of its own the fixed prompt writer is M1 in every iteration."""
    found = graph(spec(iterations=3))
    assert [found[f"generate-prompts-{t}"].inputs["model"] for t in (1, 2, 3)] == ["train-sft"] * 3


def test_external_writer_is_imported() -> None:
    """With prompts.model that model writes the prompts of every iteration."""
    found = graph(SPECS["writer"])
    assert [found[f"generate-prompts-{t}"].inputs["model"] for t in (1, 2)] == ["import-writer"] * 2
    assert found["import-writer"].config == Import(uri="hf://org/chat@0123456", content="model")


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


def test_longer_run_begins_like_a_shorter_one() -> None:
    """A run with more iterations adopts all that one with fewer has made."""
    short, long = graph(spec(iterations=1)), graph(spec(iterations=3))
    for stage in short.stages:
        if stage.name != "report":
            assert long[stage.name] == stage


def test_referee_is_m1_unless_an_oracle_is() -> None:
    """Battles are decided by M1, or by the toy task's oracle, which needs no model."""
    assert graph()["evaluate-2"].inputs["referee"] == "train-sft"
    assert "referee" not in graph(TOY)["evaluate-2"].inputs


SALTED = {
    "s3://inputs/base": True,
    "file:///data/base": True,
    "hf://org/name": True,
    "hf://org/name@main": True,
    "hf://org/name@0123456789abcdef0123456789abcdef01234567": False,
    "toy://selfreward/model": False,
}


@pytest.mark.parametrize(("uri", "salted"), SALTED.items())
def test_what_may_change_is_looked_at_again(uri: str, salted: bool) -> None:
    """An import is shared between runs only where its location can never hold anything else."""
    of = spec(model={"uri": uri})
    keys = {selfreward.graph(of, salt)["import-model"].salt for salt in ("a", "b")}
    assert len(keys) == (2 if salted else 1)


def test_report_takes_what_there_is() -> None:
    """The report reads every stage but what was given, and waits for none that was skipped."""
    found = graph()
    report = found["report"]
    assert report.partial
    assert len(report.inputs) == len(found.stages) - 4
    assert builders.published(found)["report"].digest


def test_report_of_a_fork_knows_its_origin() -> None:
    """The model of another run is the one import that is not given from outside."""
    of = spec(**{"from": {"run": "llama", "iteration": 1}})
    inputs = selfreward.graph(of, UID, "train-dpo-b")["report"].inputs
    assert [name for name in inputs if name.startswith("import-")] == ["import-origin"]
