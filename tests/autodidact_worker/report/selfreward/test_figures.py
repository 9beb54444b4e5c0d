from pathlib import Path

from autodidact_worker.report import text
from autodidact_worker.report.selfreward.figures import collect
from support.report_inputs import Run, judged
from support.report_page import cells, make


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
