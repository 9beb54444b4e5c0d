"""The program that tries what each layer must refuse."""

import os
from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.sandbox import probe


def solution(*arguments: Any) -> str:
    """What the program answers in this process, which no layer confines."""
    names: dict[str, Any] = {}
    exec(probe.source(*arguments), names)  # noqa: S102 - our own program
    answer: str = names["solution"]()
    return answer


def test_layers_that_do_nothing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any layer every layer that is tried fails, whatever version its name ends in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    answer = solution(str(tmp_path / "outside"), os.uname().nodename, ["landlock-6"])
    assert answer == f"{probe.PASSED}files landlock"


def test_layers_without_a_trial_are_not_tried() -> None:
    """Rights that a program has no way to test are left to the runner."""
    text = probe.source("/outside", "host", ["no_new_privs", "capabilities"])
    assert "LAYERS = '/outside', ['files']" in text
