from pathlib import Path

import pytest

from autodidact_contract.api import kinds
from autodidact_contract.stages.report import Report
from autodidact_worker.report import recipes
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context
from autodidact_worker.stages import report
from support.reft_report_inputs import whole
from support.report_inputs import Run
from support.report_page import Page, make


@pytest.mark.parametrize("count", [1, 4, 9, 14])
def test_a_beginning_of_a_run_has_a_page(tmp_path: Path, count: int) -> None:
    """A run that ended early has a whole page with the stages that it finished."""
    run = whole(tmp_path / "inputs", 4)
    some = run.only(*list(run.stages)[:count])
    page = Page(make(tmp_path, some, kind=kinds.REFT))
    assert page.open == []
    assert all(name in "".join(page.text) for name in some)


def test_kind_of_run_is_told(tmp_path: Path) -> None:
    """The run's kind decides, whatever stages there are; of no stage there is nothing to tell."""
    mixed = whole(tmp_path / "reft", 4).only("prepare-train", "train-sft")
    alone = Run(tmp_path)
    alone.training("train-sft")
    for inputs in (mixed, alone.inputs):
        assert recipes.tell(kinds.REFT, inputs).template == "reft.html.j2"
        assert recipes.tell(kinds.SELF_REWARD, inputs).template == "selfreward.html.j2"
    for kind in kinds.KINDS:
        assert recipes.tell(kind, {}).headline == ("No stage of the run was finished.",)


def test_a_report_by_hand_asks_for_the_kind(tmp_path: Path) -> None:
    """Nothing is guessed: without a kind, or with an unknown one, the message names those known."""
    for kind in ("", "StarRun"):
        context = Context(config=Report(title="x"), inputs={}, out=tmp_path, run_kind=kind)
        with pytest.raises(UserError, match="SelfRewardRun, ReFTRun with --run-kind"):
            report.run(context)


def test_only_what_is_shown_is_fetched() -> None:
    """Verdicts come whole, of the samples the first part alone, and no weights."""
    names = ("training_log.jsonl", "verdicts-00007.jsonl", "reranked-00001.jsonl")
    assert all(map(report.wanted, (*names, "samples-00000.jsonl", "judged-00002.jsonl")))
    others = ("samples-00001.jsonl", "rows.jsonl", "model.safetensors", "pairs-00001.jsonl")
    assert not any(map(report.wanted, others))


def test_page_needs_no_more_than_it_asks_for(tmp_path: Path) -> None:
    """Without the files that are not wanted the page is the same."""
    run = whole(tmp_path / "inputs", 130)
    before = make(tmp_path / "before", run.inputs, kind=kinds.REFT)
    for artifact in run.inputs.values():
        for file in artifact.path.iterdir():
            if not report.wanted(file.name):
                file.unlink()
    assert not (run.inputs["sample-test-ppo"].path / "samples-00001.jsonl").exists()
    assert make(tmp_path / "after", run.inputs, kind=kinds.REFT) == before
