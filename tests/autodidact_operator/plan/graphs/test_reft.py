from typing import Any

import pytest

from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.stages.training import Online, TrainPpo, TrainSft
from autodidact_operator.plan.graphs.reft import sft_epochs
from support.builders import graph, reft
from support.specs import BASELINES, EVERYTHING, REFTS

SPECS = pytest.mark.parametrize("of", REFTS.values(), ids=REFTS)


@SPECS
def test_everything_starts_from_the_warm_up(of: ReFTSpec) -> None:
    """ReFT, SFT continued and online self-training start from the warm-up model."""
    found = graph(of)
    for stage in found.stages:
        if stage.name in ("train-reft", "train-sft-continued", "train-online-st"):
            assert stage.inputs["model"] == "train-sft"
    assert found.models == {1: "train-sft", 2: "train-reft"}


@SPECS
def test_the_test_split_is_read_once_for_each_model(of: ReFTSpec) -> None:
    """Only the sampling of finished models reads the test questions, once a model; no training does."""
    readers = [s for s in graph(of).stages if "prepare-test" in s.inputs.values()]
    sampling = [s for s in readers if s.name != "report"]
    assert all(stage.config.stage == "sample" for stage in sampling)
    models = [stage.inputs["model"] for stage in sampling]
    assert len(models) == len(set(models)) == len(of.baselines) + 2


@SPECS
def test_training_chooses_on_the_validation_split(of: ReFTSpec) -> None:
    """Every training on questions measures the validation split and keeps the best model.

    The warm-up alone keeps the last: it is an early end, not a choice.
    """
    for stage in graph(of).stages:
        if isinstance(stage.config, TrainSft | Online):
            assert stage.inputs["validation"] == "prepare-validation"
            kept = stage.config.validation and stage.config.validation.keep
            assert kept == ("last" if stage.name == "train-sft" else "best")


def test_the_warm_up_has_the_long_schedule() -> None:
    """The warm-up is the first two epochs of a schedule of forty, whose rate rises for four."""
    config = graph(reft())["train-sft"].config
    assert isinstance(config, TrainSft)
    assert (config.epochs, config.stop_epochs, config.warmup_ratio) == (40, 2, 0.1)


def test_the_warm_up_may_end_by_accuracy() -> None:
    """warmUp.untilAccuracy is the accuracy at which the warm-up ends; the baselines have none."""
    found = graph(reft(warmUp={"untilAccuracy": 0.4}, baselines=["sft"]))
    until = [found[n].config.validation.until for n in ("train-sft", "train-sft-continued")]
    assert until == [0.4, None]


@pytest.mark.parametrize(("reasoning", "beta"), [("language", 0.05), ("program", 0.01)])
def test_the_kl_weight_depends_on_the_reasoning(reasoning: str, beta: float) -> None:
    """Section 4.3: beta is 0.01 for programs and 0.05 for language, unless the run says."""
    assert graph(reft(reasoning=reasoning))["train-reft"].config.beta == beta
    assert graph(reft(reasoning=reasoning, ppo={"beta": 0}))["train-reft"].config.beta == 0


def test_ppo_has_the_papers_settings() -> None:
    """The stage gets section 4.3's values, with the code's order of gamma and lambda."""
    config = graph(reft())["train-reft"].config
    assert isinstance(config, TrainPpo)
    assert (config.gamma, config.gae_lambda, config.clip_ratio, config.clip_value) == (
        *(1.0, 0.95),
        *(0.2, 0.2),
    )
    assert (config.value_coefficient, config.passes, config.batch_size) == (5, 2, 32)
    assert (config.learning_rate, config.schedule, config.epochs) == (3e-7, "constant", 300)


@pytest.mark.parametrize(
    ("of", "epochs"),
    [
        (reft(ppo={"epochs": 10}), 30.0),  # 10 x (3 + 2 x 3) / 3
        (reft(ppo={"epochs": 4, "passes": 1}), 8.0),
        (reft(algorithm="grpo", grpo={"epochs": 2, "groupSize": 8}), 80 / 3),  # 2 x 8 x 5 / 3
        (reft(algorithm="grpo", grpo={"epochs": 1, "groupSize": 2, "passes": 2}), 6.0),
    ],
)
def test_sft_continued_has_the_same_compute(of: ReFTSpec, epochs: float) -> None:
    """The baseline's epochs are ReFT's forward and backward passes over those of SFT, 3 a row."""
    assert sft_epochs(of) == pytest.approx(epochs)


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"ppo": {"epochs": 7}}, 7),
        ({"algorithm": "grpo", "grpo": {"epochs": 3, "groupSize": 8}}, 24),
    ],
)
def test_online_self_training_samples_as_many_answers(changes: Any, epochs: float) -> None:
    """One a visit, where GRPO has a whole group: it visits each question so much more often."""
    found = graph(reft(baselines=["online-self-training"], **changes))
    assert found["train-online-st"].config.epochs == epochs


def test_samples_of_the_training_questions_are_shared() -> None:
    """Offline self-training and the reranker learn from the same samples of the warm-up model."""
    found = graph(EVERYTHING)
    assert found["sample-train"].inputs == {"model": "train-sft", "questions": "prepare-train"}
    assert found["build-self-training"].inputs["samples"] == "sample-train"
    assert found["train-reranker"].inputs == {"model": "train-reft", "samples": "sample-train"}
    assert found["train-sft-offline"].inputs["model"] == "import-model"


def test_nobody_samples_what_nobody_reads() -> None:
    """Without reranker and offline self-training the training questions are not sampled."""
    names = graph(reft(reranker={"enabled": False}, baselines=["sft"])).by_name
    assert "sample-train" not in names
    assert not [name for name in names if name.startswith(("rerank", "train-reranker"))]


def test_every_model_has_a_line() -> None:
    """The history has the warm-up, the baselines in the order they were asked for, then ReFT."""
    lines = graph(EVERYTHING).lines
    assert [line.name for line in lines] == ["warm-up", *BASELINES, "ppo"]
    assert [line.iteration for line in lines] == [0, 1, 1, 1, 1]
    assert lines[-1].figures == {
        "accuracy": ("evaluate-ppo", "greedyAccuracy"),
        "vote_accuracy": ("evaluate-ppo", "voteAccuracy"),
        "rerank_accuracy": ("rerank-ppo", "rerankAccuracy"),
    }


def test_a_gated_kl_stops_the_training_itself() -> None:
    """The limit is in the stage's config; Stop goes on with the best model, Fail does not."""
    stop = graph(reft(gates={"maxKl": {"limit": 7, "action": "Stop"}}))["train-reft"]
    fail = graph(reft(gates={"maxKl": {"limit": 7, "action": "Fail"}}))["train-reft"]
    assert stop.config == fail.config
    assert stop.config.max_kl == 7
    assert [check.action for check in (*stop.checks, *fail.checks)] == ["Warn", "Fail"]


def test_lora_is_one_option_for_all_training() -> None:
    """spec.lora reaches every training stage and no other."""
    for stage in graph(EVERYTHING).stages:
        assert (getattr(stage.config, "lora", None) is not None) == stage.training


def test_a_secret_keeps_its_import_alone() -> None:
    """Where a split needs a Secret, what checks the splits runs beside the imports, without it."""
    found = graph(REFTS["reft-secret"])
    assert (found["import-test"].job, found["import-test"].secret) == ("import-test", "keys")
    assert {found[f"prepare-{s}"].job for s in ("train", "validation", "test")} == {"prepare"}
    assert found["prepare-test"].secret is None


def test_every_stage_that_runs_programs_names_missing_layers() -> None:
    """Preparation of the train split, sampling and training; nobody does where words are read."""
    wanted = {"train-sft", "train-reft", "train-sft-continued", "train-sft-offline"}
    wanted |= {"train-online-st", "prepare-train", "sample-train"}
    stages = graph(EVERYTHING).stages
    wanted |= {stage.name for stage in stages if stage.name.startswith("sample-test-")}
    for stage in stages:
        named = [c.numerator for c in stage.checks if c.reason == "SandboxIncomplete"]
        layers = ["sandbox-without-namespaces", "sandbox-without-landlock"]
        assert named == (layers if stage.name in wanted else [])
    assert not [
        check
        for stage in graph(reft(baselines=BASELINES)).stages
        for check in stage.checks
        if check.reason == "SandboxIncomplete"
    ]
