"""Fixtures of the worker's tests: the sampling stages, and a rubric in few words."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.judging import rubrics
from support.sampling_stages import small_stages


@pytest.fixture
def short_rubric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a rubric that reads scores as the real one does but asks in few words."""
    made = dataclasses.replace(
        rubrics.get("additive-v1"),
        name="short-v1",
        judge="{prompt}|{response}:",
        pairwise="{prompt}|{a}|{b}?",
    )
    monkeypatch.setitem(rubrics._MAKERS, "short-v1", lambda _: made)


@pytest.fixture
def stages(bench: Any, llama: Path, other_llama: Path) -> dict[str, Any]:
    """Each sharded or sampling stage with small inputs: name -> (config, inputs)."""
    return small_stages(bench, llama, other_llama)
