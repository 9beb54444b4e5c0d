"""Training logs as numbers by name and step."""

from pathlib import Path

from autodidact_worker.report import curves
from autodidact_worker.runtime.frame import InputArtifact


def logged(folder: Path, text: str) -> InputArtifact:
    """A training with this log."""
    (folder / curves.CURVE).write_text(text)
    return InputArtifact(path=folder)


def test_points_are_where_both_figures_are(tmp_path: Path) -> None:
    """Lines without the figure are left out; so are texts and numbers that are none."""
    text = '{"step": 1, "loss": 2, "kind": "x"}\n\n{"step": 2}\n{"step": 3, "loss": NaN}\n{"step": 4, "loss": 1, "epoch": 2}\n'
    notes: list[str] = []
    curve = curves.read("sft", logged(tmp_path, text), notes)
    assert curve is not None
    assert notes == []
    assert curve.points("loss") == [(1.0, 2.0), (4.0, 1.0)]
    assert curve.points("loss", "epoch") == [(2.0, 1.0)]
    assert curve.points("kind") == []


def test_a_log_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    """A missing or damaged log costs its plot and leaves a note; an empty one costs its plot."""
    notes: list[str] = []
    assert curves.read("gone", InputArtifact(path=tmp_path / "gone"), notes) is None
    assert curves.read("damaged", logged(tmp_path, "[1]\n"), notes) is None
    assert curves.read("empty", logged(tmp_path, "\n"), notes) is None
    assert [note.split(":")[0] for note in notes] == ["gone", "damaged"]
