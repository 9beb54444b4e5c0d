import re
import subprocess
import sys
from pathlib import Path

import pytest

from autodidact_worker.report.page import MAX_BYTES
from support.report_inputs import Run, judged, whole
from support.report_page import HOSTILE, Page, make
from tools.paths import TESTS


def test_page_loads_and_runs_nothing(html: str) -> None:
    """The page has no script, no handler, nothing to fetch; its one link is a citation."""
    page = Page(html)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert page.loads == []
    assert page.handlers == []
    assert page.links == ["https://arxiv.org/abs/2401.10020"]
    assert not re.search(r"url\((?!#)|@import", html)
    assert "default-src 'none'" in html


def test_page_is_well_formed(html: str) -> None:
    """Every element is closed, ids are unique and references inside the page have a target."""
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    targets = {reference.removeprefix("#") for reference in page.references}
    targets |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(page.ids)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Markup in prompts, replies, votes and the title is shown and never becomes an element."""
    run = Run(tmp_path)
    found = [judged(HOSTILE, index, HOSTILE * (index + 1), [5 - index]) for index in range(2)]
    hostile = found[0].votes[0].model_copy(update={"text": HOSTILE})
    found[0] = found[0].model_copy(update={"votes": (hostile,)})
    run.judged(1, found, {"judgements": 2, "parsed": 2, "prompts": 1})
    run.pairs(1, found)
    html = make(tmp_path, run.inputs, title=HOSTILE)
    page = Page(html)
    assert not page.tags & {"script", "img"}
    assert page.handlers == []
    assert "".join(page.text).count(HOSTILE) >= 6
    assert page.open == []


def test_long_texts_are_cut_with_a_note(tmp_path: Path) -> None:
    """A reply of a million characters shows its beginning and how much is left out."""
    run = Run(tmp_path)
    found = [judged("long", index, "x" * 1_000_000, [5 - index]) for index in range(2)]
    run.judged(1, found, {"judgements": 2, "parsed": 2, "prompts": 1})
    html = make(tmp_path, run.inputs)
    assert "998\u202f800 more characters" in html
    assert len(html) < 200_000


@pytest.mark.thorough
def test_same_inputs_give_the_same_bytes(tmp_path: Path, html: str) -> None:
    """Another process with the same rows elsewhere writes the same page."""
    code = (
        "import sys; from pathlib import Path; from support import report_inputs, report_page; "
        "f = Path(sys.argv[1]); report_page.make(f, report_inputs.whole(f / 'inputs').inputs)"
    )
    environment = {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "7", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == html


@pytest.mark.thorough
def test_twenty_rounds_stay_small(tmp_path: Path) -> None:
    """A run of twenty rounds with long replies keeps the page below its limit."""
    run = Run(tmp_path)
    for number in range(1, 21):
        found = [
            judged(f"prompt {number} {i} " * 100, n, f"<&{n}>" * 2000, [5 - n, 5 - n, 4 - n])
            for i in range(20)
            for n in range(4)
        ]
        run.judged(number, found, {"judgements": 240, "parsed": 240, "prompts": 20})
        run.pairs(number, found)
        run.training(f"train-dpo-{number}", 3000)
        run.evaluate(number, 4.0, (100, 100, 56))
    html = make(tmp_path, run.inputs)
    assert len(html.encode()) <= MAX_BYTES
    assert "Round 20:" in html


def test_unreadable_rows_are_noted(tmp_path: Path) -> None:
    """Damaged rows and logs cost their figures, not the page."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    (run.inputs["judge-1"].path / "judged-00000.jsonl").write_text("{}\n")
    (run.inputs["train-sft"].path / "training_log.jsonl").write_text("loss\n")
    html = make(tmp_path, run.inputs)
    assert "judged-00000.jsonl line 1" in html
    assert "train-sft: its training log cannot be read" in html
