"""Container paths, rewritten to where the node keeps their content."""

import re
from collections.abc import Mapping
from pathlib import Path

# A path begins where no other path goes on: "/data" is found in "--in=/data/x" and in
# "file:///data", but neither in "/old/data" nor in "s3://bucket/data".
_BEFORE = r"(?:(?<![\w.\-/])|(?<=file://))"
_AFTER = r"(?![\w.\-])"


class PathMap:
    """Replaces container paths by host paths wherever they occur in a text.

    Args:
        places: Host path by container path, such as a volume's directory by its mountPath.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = {_normal(path): str(place) for path, place in places.items()}
        # The longest first, so that a mount inside another one wins.
        ordered = sorted(self._places, key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in ordered)
        self._pattern = re.compile(f"{_BEFORE}({alternatives}){_AFTER}") if ordered else None

    def rewrite(self, text: str) -> str:
        """Return the text with every known container path replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._places[match[1]], text)

    def place(self, container_path: str) -> Path | None:
        """Return the host path of exactly this container path, if it is known."""
        place = self._places.get(_normal(container_path))
        return None if place is None else Path(place)


def _normal(path: str) -> str:
    return path.rstrip("/") or "/"
