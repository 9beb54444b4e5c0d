from pathlib import Path

from support.report_inputs import Run
from support.report_page import cells, make


def test_prompts_tell_their_variety(tmp_path: Path) -> None:
    """Distinct words and pairs, ROUGE, and why completions were rejected, duplicates among them."""
    run = Run(tmp_path)
    counts = {"accepted": 70, "attempted": 100, "rejected-similar": 26, "rejected-duplicate": 4}
    figures = {"distinct1": 0.4, "distinct2": 0.9, "rougeMax": 0.31, "rougeHighest": 0.7}
    run.add("generate-prompts-3", counts, **figures)
    row = cells(make(tmp_path, run.inputs), "round 3", table="prompts of")
    assert row == ["70 of 100", "40.0 %", "90.0 %", "0.31", "0.70", "similar 26, duplicate 4"]
