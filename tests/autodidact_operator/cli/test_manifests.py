from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from autodidact_operator import cli
from autodidact_operator.cli.console import EXIT_USAGE
from support import builders


def _manifest(folder: Path, spec: dict[str, Any]) -> str:
    body = {
        "apiVersion": "autodidact.dev/v1alpha1",
        "kind": "ReFTRun",
        "metadata": {"name": "chains"},
        "spec": spec,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(body))
    return str(path)


def test_validate_prints_the_stages_of_a_reft_run(tmp_path: Path) -> None:
    """Every Job of the run is printed with its stages, and how many pods share it."""
    spec = builders.reft(baselines=["sft"], shards=2)
    found = CliRunner().invoke(cli.main, ["validate", _manifest(tmp_path, spec.dump())])
    assert found.exit_code == 0, found.output
    assert "ReFTRun chains is valid" in found.output
    jobs = [line.strip() for line in found.output.splitlines()[1:]]
    assert "train-reft: train-reft" in jobs
    assert "sample-test-ppo (2 pods): sample-test-ppo" in jobs
    assert jobs[-1] == "report: report"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": "sarsa"}, "spec.algorithm: Input should be 'ppo' or 'grpo'"),
        ({"baselines": ["sft", "sft"]}, "spec: Value error, baselines must not name one twice"),
    ],
)
def test_validate_says_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    """A spec that cannot work is refused with the path of its field."""
    spec = {**builders.reft().dump(), **changes}
    found = CliRunner().invoke(cli.main, ["validate", _manifest(tmp_path, spec)])
    assert found.exit_code == EXIT_USAGE
    assert sentence in found.output
