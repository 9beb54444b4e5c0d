import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autodidact_worker.report import text
from autodidact_worker.report.drawing import POINTS, thin
from autodidact_worker.report.page import MAX_BYTES
from autodidact_worker.report.selfreward.figures import collect
from autodidact_worker.report.selfreward.headline import headline
from autodidact_worker.report.shares import wilson
from support.report_inputs import Run, judged, whole
from support.report_page import HOSTILE, Page, cells, make
from tools.paths import TESTS


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole run."""
    folder = tmp_path_factory.mktemp("whole")
    return make(folder, whole(folder / "inputs").inputs)


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


def test_plots_are_accessible_text(html: str) -> None:
    """Every plot has a title and a description, and its words are words, not outlines."""
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 8
    for picture in pictures:
        assert re.match(r'<svg role="img" aria-labelledby="(\w+)-title \1-description"', picture)
        assert "<title" in picture
        assert "<desc" in picture
        assert "<text" in picture


def test_numbers_are_those_of_the_stages(html: str) -> None:
    """The tables' cells equal values computed by hand."""
    # 139 of 256: Wilson 0.48177 to 0.60298; 139 of 147 decided: 0.89630 to 0.97219.
    assert cells(html, "M2")[:3] == ["4.76 greedy 4.86", "5.0", "139 / 109 / 8 vs M1"]
    assert cells(html, "M2")[3:] == ["54.3 % 48.2 % to 60.3 %", "94.6 % 89.6 % to 97.2 %"]
    assert cells(html, "M1") == ["3.31 greedy 3.41", "5.0", text.NONE, text.NONE, text.NONE]


def test_round_of_a_few_rows(tmp_path: Path) -> None:
    """Score, parse rate, histogram and drops of three prompts are what one counts by hand."""
    run = Run(tmp_path)
    found = [
        judged("one", 0, "best", [5, 5, 4]),
        judged("one", 1, "worst", [1, 1, -1]),
        judged("two", 0, "same", [3, 3, 3]),
        judged("two", 1, "same too", [3, 3, 3]),
        judged("three", 0, "good", [-1, -1, -1]),
    ]
    counts = {"responses": 5, "judgements": 15, "parsed": 11, "prompts": 3, "ties": 1}
    run.judged(1, found, counts, score=(14 / 3 + 1 + 3 + 3) / 4)
    run.pairs(1, found)
    (one,) = collect(run.inputs).rounds
    assert one.histogram == {4.5: 1, 1.0: 1, 3.0: 2}
    assert (one.parse_rate, one.tie_rate) == (11 / 15, 1 / 3)
    assert (one.prompts, one.pairs, one.dropped) == (3, 1, {"equal scores": 2})
    row = cells(make(tmp_path, run.inputs), "1 ")
    assert row[4:6] == ["73.3 %", "2.92"]
    assert row[-1] == "equal scores 2"


@pytest.mark.parametrize(
    ("won", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (139, 256, 0.4818, 0.6030),
    ],
)
def test_wilson(won: int, n: int, low: float, high: float) -> None:
    """Intervals equal published values of Wilson's method."""
    found = wilson(won, n)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_wilson_without_trials() -> None:
    """No trials give no interval."""
    assert wilson(0, 0) is None


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


def test_hidden_characters_are_visible() -> None:
    """Control, direction and zero-width characters show their names; ordinary text is untouched."""
    assert text.visible("a\x1b[0m\x00\u202eb\u200b\ud800") == "a␛[0m␀⟨U+202E⟩b⟨U+200B⟩⟨U+D800⟩"
    assert text.visible("Grüße, 世界 🙂\n\t½") == "Grüße, 世界 🙂\n\t½"


def test_long_texts_are_cut_with_a_note(tmp_path: Path) -> None:
    """A reply of a million characters shows its beginning and how much is left out."""
    run = Run(tmp_path)
    found = [judged("long", index, "x" * 1_000_000, [5 - index]) for index in range(2)]
    run.judged(1, found, {"judgements": 2, "parsed": 2, "prompts": 1})
    html = make(tmp_path, run.inputs)
    assert "998\u202f800 more characters" in html
    assert len(html) < 200_000


def test_same_inputs_give_the_same_bytes(tmp_path: Path, html: str) -> None:
    """Another process with the same rows elsewhere writes the same page."""
    code = (
        "import sys; from pathlib import Path; from support import report_inputs, report_page; "
        "f = Path(sys.argv[1]); report_page.make(f, report_inputs.whole(f / 'inputs').inputs)"
    )
    tests = TESTS
    environment = {"PYTHONPATH": str(tests), "PYTHONHASHSEED": "7", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == html


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


def test_outcome_names_where_a_round_ended(tmp_path: Path) -> None:
    """A run that a gate stopped says which model is the last and which stage came last."""
    run = whole(tmp_path / "inputs", prompts=8)
    del run.inputs["train-dpo-2"], run.inputs["evaluate-2"]
    first = headline(collect(run.inputs))[0]
    assert first.startswith("The last model is M2. Round 2 was begun and made no model")
    assert first.endswith("build-pairs-2.")


def test_unreadable_rows_are_noted(tmp_path: Path) -> None:
    """Damaged rows and logs cost their figures, not the page."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    (run.inputs["judge-1"].path / "judged-00000.jsonl").write_text("{}\n")
    (run.inputs["train-sft"].path / "training_log.jsonl").write_text("loss\n")
    html = make(tmp_path, run.inputs)
    assert "judged-00000.jsonl line 1" in html
    assert "train-sft: its training log cannot be read" in html


def test_summary_has_the_tables(tmp_path: Path) -> None:
    """Programs find the tables' figures beside the page, and no model-written text."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    make(tmp_path, run.inputs)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [model["name"] for model in summary["models"]] == ["M1", "M2"]
    assert summary["models"][1]["battles"] == {"win": 139, "tie": 109, "loss": 8}
    assert summary["rounds"][0]["newPrompts"] == 8
    assert "prompt" not in summary["rounds"][0]


def test_long_curves_are_averaged() -> None:
    """A long log becomes few points whose mean is the log's."""
    points = thin([(float(step), 1.0) for step in range(10 * POINTS)])
    assert len(points) == POINTS
    assert points[0] == (4.5, 1.0)


def test_greedy_quality_stands_beside_that_of_samples(html: str) -> None:
    """One cell has both."""
    assert cells(html, "M1")[0] == "3.31 greedy 3.41"


def test_a_fork_tells_where_its_first_model_is_from(tmp_path: Path) -> None:
    """Chain, headline and tables name the artifact of the other run; nothing is missing."""
    run = whole(tmp_path / "inputs", iterations=1)
    made = run.inputs.pop("train-sft")
    origin = {"uri": "artifact://train-dpo-0a1b", "stage": "import"}
    run.inputs["import-origin"] = replace(made, kind="import", config=origin)
    html = make(tmp_path, run.inputs)
    assert "after 1 round of DPO from train-dpo-0a1b." in html
    assert "<b>M1</b><span>from train-dpo-0a1b · quality 3.31</span>" in html
    assert 'class="missing"' not in html
    assert "<b>M0</b>" not in html
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    first, second = summary["models"]
    assert (first["stage"], first["digest"], first["origin"]) == (
        *("import-origin", made.digest, "train-dpo-0a1b"),
    )
    assert second["origin"] == ""
    assert summary["lineage"][0]["stage"] == "import-origin"
