from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("short_rubric")


def test_the_health_of_the_judge_is_counted(bench: Any, stages: dict[str, Any]) -> None:
    """Two votes on each of three hundred replies; those with a score are told apart by it."""
    config, inputs = stages["evaluate"]
    counts = bench.result(bench.run(config, **inputs)).counts
    assert counts["judgements"] == 600
    scored = sum(count for name, count in counts.items() if name.startswith("votes-"))
    unreadable = sum(count for name, count in counts.items() if name.startswith("invalid-no"))
    assert counts.get("parsed", 0) == scored
    assert unreadable > 0
