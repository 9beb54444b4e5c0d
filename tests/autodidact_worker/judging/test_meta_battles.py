from pathlib import Path
from typing import Any

from autodidact_contract.records import JudgedJudgements
from support.disputes import META, battle, disputed, judged, put, read, vote


def test_a_comparison_that_is_too_long_cannot_be_read(bench: Any, llama: Path) -> None:
    """It costs its own verdicts only, and is counted."""
    long = judged("q-0", [vote(1, "n=1"), vote(5, "y=5")], "q")
    rows_given = [*disputed(1), long.model_copy(update={"text": "a" * 3000})]
    given = bench.run(
        META,
        model=bench.put("import", llama),
        judged=put(bench, "judge", "judged", rows_given),
    )
    found = read(bench, given, "battles", JudgedJudgements)
    assert found[1].battles == (battle(0, 1, None, None),)
    assert None not in found[0].battles[0].verdicts
    counts = bench.result(given).counts
    assert (counts["skipped-too-long"], counts["verdicts-unreadable"]) == (2, 2)
