import re
from pathlib import Path

from autodidact_contract.api import kinds
from autodidact_worker.report import text
from support.reft_report_inputs import whole
from support.report_page import Page, cells, make


def test_page_is_offline_and_well_formed(reft_html: str) -> None:
    """The page runs and loads nothing, every element is closed, and references have a target."""
    page = Page(reft_html)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert (page.loads, page.handlers, page.open) == ([], [], [])
    assert page.links == ["https://arxiv.org/abs/2401.08967"]
    assert len(page.ids) == len(set(page.ids))
    targets = {reference.removeprefix("#") for reference in page.references}
    assert targets <= set(page.ids)


def test_lineage_and_settings(reft_html: str) -> None:
    """Each stage names what it was made of, and stages with the same settings share a table."""
    row = cells(reft_html, "sample-test-ppo")
    assert row[0].split() == ["model", "train-reft,", "questions", "prepare-test"]
    summaries = re.findall(r'<details class="settings">\s*<summary>(.*?)</summary>', reft_html)
    assert "train-reft" in summaries
    assert any(s.startswith("evaluate-warm-up, evaluate-sft") for s in summaries)
    assert '<th scope="row">clipRatio</th><td class="words">0.2</td>' in reft_html


def test_unreadable_rows_are_noted(tmp_path: Path) -> None:
    """Damaged rows and logs cost their figures, not the page."""
    run = whole(tmp_path / "inputs", 8)
    (run.inputs["evaluate-sft"].path / "verdicts-00000.jsonl").write_text("{}\n")
    (run.inputs["train-reft"].path / "training_log.jsonl").write_text("loss\n")
    (run.inputs["sample-test-ppo"].path / "samples-00000.jsonl").unlink()
    reft_html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert "verdicts-00000.jsonl line 1" in reft_html
    assert "train-reft: its training log cannot be read" in reft_html
    assert "sample-test-ppo: samples-00000.jsonl is missing" in reft_html
    assert cells(reft_html, "SFT continued")[0] == text.NONE
