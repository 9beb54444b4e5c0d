"""``autodidact fetch``."""

from pathlib import Path

from click.testing import CliRunner

from autodidact_contract.artifacts import Manifest
from autodidact_operator import cli
from autodidact_operator.cli.console import EXIT_FAILED, EXIT_USAGE
from autodidact_store import open_store
from autodidact_store.publishing import publish

KEY = 32 * "a"
FOLDER = f"team/artifacts/report-{KEY}"


def fetch(*arguments: str) -> tuple[int, str]:
    """Returns exit code and output."""
    found = CliRunner().invoke(cli.main, ["fetch", *arguments])
    return found.exit_code, found.output.replace("\n", "")


def test_an_artifact_is_downloaded(tmp_path: Path) -> None:
    """The folder that a status names comes with every file, and with nothing else."""
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    (made / "report.html").write_text("<p>")
    (tmp_path / "store").mkdir()
    store = open_store(f"file://{tmp_path / 'store'}", {})
    draft = Manifest(
        kind="report", key=KEY, shard=0, shards=1, files=(), inputs={}, config={}, counts={}
    )
    publish(store, "team", draft, made)
    code, said = fetch(FOLDER, "--store", f"file://{tmp_path / 'store'}", "-o", str(out))
    assert (code, "1 files" in said) == (0, True)
    assert [path.name for path in out.iterdir()] == ["report.html"]
    assert (out / "report.html").read_text() == "<p>"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """A folder of another form is the user's mistake; one that is not in the store is a failure."""
    where = ("--store", f"file://{tmp_path}", "-o", str(tmp_path / "out"))
    code, said = fetch("team/runs/1", *where)
    assert (code, "take status.model of a run" in said) == (EXIT_USAGE, True)
    code, said = fetch(FOLDER, *where)
    assert (code, "has no artifact" in said) == (EXIT_FAILED, True)
    assert not (tmp_path / "out").exists()
