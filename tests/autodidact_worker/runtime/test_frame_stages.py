"""Every sampling stage through the frame: the same bytes twice, and in any number of shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.sampling_stages import KINDS, SHARDED, run_in_process, small_stages

pytestmark = pytest.mark.usefixtures("short_rubric")


@pytest.mark.parametrize("name", [*KINDS, "evaluate by referee"])
def test_a_stage_run_twice_gives_the_same_digest(
    name: str, new_bench: Callable[[str], Any], llama: Path, other_llama: Path
) -> None:
    """Two stores that know nothing of each other end with the same bytes."""
    digests = set()
    for store in ("one", "two"):
        bench = new_bench(store)
        config, inputs = small_stages(bench, llama, other_llama)[name]
        digests.add(bench.run(config, **inputs).digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", SHARDED)
def test_shards_do_not_change_an_artifact(
    name: str, new_bench: Callable[[str], Any], llama: Path, other_llama: Path
) -> None:
    """One, two and four shards publish the same union of files, counts and means."""
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        config, inputs = small_stages(bench, llama, other_llama)[name]
        artifact = bench.result(bench.run(config, shards=shards, **inputs))
        assert artifact.shards == shards
        means = {name: pytest.approx(value) for name, value in artifact.metrics.items()}
        found.append((artifact.digest, artifact.counts, means, artifact.metrics))
    for digest, counts, means, _ in found[1:]:
        assert digest == found[0][0]
        assert counts == found[0][1]
        assert means == found[0][3]


def test_sampling_imports_no_trainer(bench: Any, stages: dict[str, Any]) -> None:
    """Sampling does not pay for TRL and DeepSpeed although they are installed."""
    config, inputs = stages["evaluate"]
    run_in_process(bench, config, inputs, ("trl", "deepspeed", "datasets"))
