"""Expected values in files; ``UPDATE_GOLDEN=1`` writes them anew."""

import os
from typing import Any

import yaml

from planning.builders import DATA


def check(name: str, value: Any) -> None:
    """Compares a value of plain types with ``tests/data/<name>.yaml``."""
    path = DATA / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False, width=100))
    assert path.exists(), f"{path} is missing; write it with UPDATE_GOLDEN=1"
    assert yaml.safe_load(path.read_text()) == value
