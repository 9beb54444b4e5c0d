"""Directories that somebody filled with ill intent."""

import os
from pathlib import Path

from autodidact_worker.sandbox import trees


def test_links_are_not_followed(tmp_path: Path) -> None:
    """What links point to stays; the links go."""
    (tmp_path / "outside").mkdir()
    kept = tmp_path / "outside" / "kept"
    kept.write_text("kept")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "file").symlink_to(kept)
    (inside / "loop").symlink_to("loop")
    trees.remove(inside)
    assert not inside.exists()
    assert kept.read_text() == "kept"


def test_depth_has_no_limit(tmp_path: Path) -> None:
    """A tree deeper than paths can be long and than Python recurses is removed."""
    root = tmp_path / "root"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=here)
        there = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    trees.remove(root)
    assert not root.exists()


def test_many_files_and_closed_directories(tmp_path: Path) -> None:
    """Neither numbers nor modes keep a directory from being cleared."""
    for number in range(200):
        folder = tmp_path / f"folder-{number}"
        (folder / "inner").mkdir(parents=True)
        for name in range(20):
            (folder / str(name)).touch()
        (folder / "inner").chmod(0)
        folder.chmod(0)
    trees.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_size_and_number_are_measured(tmp_path: Path) -> None:
    """Bytes count as they are said to be, files and directories one each, at any depth."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 5000)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*"))
    assert not trees.exceeds(tmp_path, size, 3)
    assert trees.exceeds(tmp_path, size - 1, 3)
    assert trees.exceeds(tmp_path, size, 2)


def test_what_cannot_be_opened_exceeds(tmp_path: Path) -> None:
    """A tree too deep to look into counts as too large."""
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(25):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    finally:
        os.chdir(here)
    assert trees.exceeds(tmp_path, 1 << 30, 1 << 20)
    trees.clear(tmp_path)
