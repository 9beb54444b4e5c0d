import json
import shutil
from pathlib import Path
from typing import Any


def edited(source: Path, folder: Path, name: str, **values: Any) -> Path:
    """Copies a model and changes one of its JSON files; None removes a key."""
    shutil.copytree(source, folder)
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder
