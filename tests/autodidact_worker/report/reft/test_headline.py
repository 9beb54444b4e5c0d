from pathlib import Path

import pytest

from autodidact_worker.report.reft.figures import collect
from autodidact_worker.report.reft.headline import headline
from support.reft_arms import NARROW, arm_of
from support.reft_report_inputs import ReftRun, whole


def _plain(sentence: str) -> str:
    return sentence.replace(NARROW, " ").replace("\u2212", "-")


def test_headline_claims_what_the_figures_say(tmp_path: Path) -> None:
    """ReFT is compared with every arm, and where p is large the sentence says so."""
    run = ReftRun(tmp_path, spec={"baselines": ["sft"], "reranker": {"enabled": False}})
    arm_of(run, "warm-up", 5 * "+" + 35 * "-")
    arm_of(run, "sft", 29 * "+" + 11 * "-")
    arm_of(run, "ppo", 30 * "+" + 10 * "-")
    found = [_plain(sentence) for sentence in headline(collect(run.inputs, looked=0))]
    assert found[0].startswith("ReFT (PPO) answers 75.0 % of 40 test questions right (95 % ")
    assert found[1].startswith("Against the warm-up (12.5 %): +62.5 points (+")
    assert found[1].endswith("better, p < 0.001.")
    assert found[2].startswith("Against SFT continued (72.5 %): +2.5 points (-")
    assert found[2].endswith("not distinguishable from chance, p = 1.000.")
    assert len(found) == 3


def test_worse_is_called_worse(tmp_path: Path) -> None:
    """A ReFT that lost accuracy is not dressed up."""
    run = ReftRun(tmp_path, spec={"baselines": [], "reranker": {"enabled": False}})
    arm_of(run, "warm-up", 30 * "+" + 10 * "-")
    arm_of(run, "ppo", 5 * "+" + 35 * "-")
    found = _plain(headline(collect(run.inputs, looked=0))[1])
    assert "-62.5 points" in found
    assert found.endswith("worse, p < 0.001.")


ENDS = {
    "prepare-train": "No model was trained: the run ended after prepare-train.",
    "train-sft": "No model was reinforced: the run ended with the warm-up.",
    "evaluate-warm-up": "No model was reinforced: the run ended with the warm-up, which answers",
    "train-reft": "ReFT (PPO) was trained but not measured: the run ended after",
}


@pytest.mark.parametrize("last", ENDS)
def test_an_unfinished_run_says_where_it_ended(tmp_path: Path, last: str) -> None:
    """The first sentence of a run that stopped says how far it came."""
    run = whole(tmp_path, 8, baselines=[])
    planned = list(run.stages)
    some = run.only(*planned[: planned.index(last) + 1])
    assert headline(collect(some, looked=0))[0].startswith(ENDS[last])


def test_any_stage_may_be_missing(tmp_path: Path) -> None:
    """A page can be made without any one stage, of any one stage alone, and of any beginning."""
    run = whole(tmp_path / "inputs", 4)
    names = list(run.stages)
    chosen = [[n for n in names if n != name] for name in names]
    chosen += [names[:count] for count in range(1, len(names))] + [[name] for name in names]
    for some in chosen:
        figures = collect(run.only(*some), looked=2)
        assert sorted(figures.stages) == sorted(some)
        assert headline(figures)
