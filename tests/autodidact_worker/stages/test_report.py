import subprocess
import sys
from pathlib import Path

import pytest

from support.report_inputs import whole
from support.report_page import Page, make


def test_torch_is_not_imported() -> None:
    """The stage runs on a small CPU pod: importing it brings in no machine learning library."""
    code = (
        "import sys, autodidact_worker.stages.report, autodidact_worker.report.page; "
        "print(sorted({'torch', 'transformers', 'trl', 'pyplot'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


ALL = (
    "train-sft",
    "evaluate-0",
    "generate-prompts-1",
    "generate-responses-1",
    "judge-1",
    "build-pairs-1",
    "train-dpo-1",
    "evaluate-1",
)


@pytest.mark.parametrize("count", range(len(ALL)))
def test_any_beginning_of_a_run_works(tmp_path: Path, count: int) -> None:
    """A run that ended after any of its stages, none included, has a page that says so."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    some = {name: run.inputs[name] for name in ALL[:count]}
    page = Page(make(tmp_path, some))
    assert page.open == []
    assert all(name in "".join(page.text) for name in some)


@pytest.mark.parametrize("name", ALL)
def test_any_single_stage_works(tmp_path: Path, name: str) -> None:
    """A page can be made of one stage alone, whichever it is."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    assert Page(make(tmp_path, {name: run.inputs[name]})).open == []
