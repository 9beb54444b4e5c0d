"""Expected values in files; ``UPDATE_GOLDEN=1`` writes them anew."""

import os
from pathlib import Path
from typing import Any

import yaml

from support.builders import DATA


def check(name: str, value: Any) -> None:
    """Compares a value of plain types with ``tests/data/<name>.yaml``."""
    path = DATA / f"{name}.yaml"
    if _wanted_anew():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False, width=100))
    assert path.exists(), f"{path} is missing; write it with UPDATE_GOLDEN=1"
    assert yaml.safe_load(path.read_text()) == value


def check_text(path: Path, text: str) -> None:
    """Compares a text with a file that is shipped."""
    if _wanted_anew():
        path.write_text(text)
    assert path.read_text() == text, f"{path} is out of date; write it with UPDATE_GOLDEN=1"


def _wanted_anew() -> bool:
    return os.environ.get("UPDATE_GOLDEN") == "1"
