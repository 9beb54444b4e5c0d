"""``autodidact run``: what it refuses before any stage starts."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from autodidact_operator import cli
from autodidact_operator.cli.console import EXIT_USAGE
from tools.paths import EXAMPLES

TOY = (EXAMPLES / "selfreward-toy.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod\n", "holds 0 runs; give one of SelfRewardRun, ReFTRun"),
        (f"{TOY}\n---\n{TOY}", "holds 2 runs"),
        ("{", "is not YAML"),
        (TOY.replace("v1alpha1", "v1"), "apiVersion must be autodidact.dev/v1alpha1"),
        (TOY.replace("iterations:", "rounds:"), "spec.rounds"),
    ],
)
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file and what to write, and nothing is created."""
    file, store = tmp_path / "run.yaml", tmp_path / "store"
    file.write_text(text)
    found = CliRunner().invoke(cli.main, ["run", str(file), "--store", str(store)])
    output = " ".join(found.output.split())
    assert (found.exit_code, said in output) == (EXIT_USAGE, True), output
    assert not store.exists()


def test_a_store_that_is_none_is_refused(tmp_path: Path) -> None:
    """A store of another kind is named before any stage starts."""
    file = tmp_path / "run.yaml"
    file.write_text(TOY)
    found = CliRunner().invoke(cli.main, ["run", str(file), "--store", "ftp://server/bucket"])
    assert (found.exit_code, "ftp://" in found.output) == (EXIT_USAGE, True)
