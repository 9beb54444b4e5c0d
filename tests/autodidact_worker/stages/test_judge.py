"""Stage ``judge`` on a random tiny model."""

from typing import Any

from support.sampling_stages import PROMPTS, pairs_config


def test_a_judge_that_never_gives_a_score_leaves_all_unscored(
    bench: Any, stages: dict[str, Any]
) -> None:
    """With a random judge every vote is invalid with a reason, and pairs are none."""
    config, inputs = stages["judge"]
    short = config.model_copy(update={"rubric": "short-v1"})
    given = bench.run(short, **inputs)
    counts = bench.result(given).counts
    assert counts["judgements"] == 3 * 2 * PROMPTS
    invalid = sum(n for name, n in counts.items() if name.startswith("invalid-"))
    assert counts.get("parsed", 0) == 0
    assert invalid == counts["judgements"]
    assert counts["unscored"] == counts["responses"] == 2 * PROMPTS
    assert bench.result(given).metrics["score"] is None
    done = bench.result(bench.run(pairs_config(), judged=given))
    assert (done.counts["pairs"], done.counts["dropped-unscored"]) == (0, PROMPTS)
    assert done.metrics["gap"] is None
