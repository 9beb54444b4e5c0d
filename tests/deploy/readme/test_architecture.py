"""The architecture picture in README and CONTRIBUTING is held against the import graph.

A box is one or several folders or files of a package, or a whole package. An arrow ``a --> b`` says
that ``a`` imports ``b``. An import that a path of arrows shows already has no arrow of its own, so
that the picture stays readable. A dotted arrow is not an import.
"""

import re
from collections.abc import Iterator

import grimp
import pytest

from tools.paths import ROOT

PACKAGES = (
    "autodidact_contract",
    "autodidact_store",
    "autodidact_operator",
    "autodidact_worker",
)
SMALL = frozenset(
    f"autodidact_operator.{name}" for name in ("errors", "progress", "settings", "telemetry")
)
"""Files beside the folders that have no box: they are small, and below everything else."""

_PICTURE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BOX = re.compile(r'(\w+)\["([^"]+)"\]')
_GROUP = re.compile(r'subgraph (\w+)\["(\w+)')

Arrow = tuple[str, str]


def picture(name: str) -> str:
    """Returns the one picture of a document."""
    [text] = _PICTURE.findall((ROOT / name).read_text())
    return str(text)


def boxes(text: str) -> dict[str, tuple[str, ...]]:
    """Returns the modules that each box of a picture stands for, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    package = ""
    for line in text.splitlines():
        if group := _GROUP.search(line):
            package = group[2] + "."
            continue
        if line.strip() == "end":
            package = ""
        for name, label in _BOX.findall(line):
            found[name] = tuple(package + part for part in label.split(", "))
    return found


def arrows(text: str) -> Iterator[Arrow]:
    """Yields the solid arrows of a picture."""
    for line in _BOX.sub(r"\1", text).splitlines():
        if " --> " in line:
            left, right = line.strip().split(" --> ")
            for target in right.split(" & "):
                yield left, target


def imports(known: dict[str, tuple[str, ...]]) -> dict[Arrow, str]:
    """Returns an import that stands for each pair of boxes of which one imports the other."""
    graph = grimp.build_graph(*PACKAGES)
    found = {}
    for module in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            pair = (_box_of(module, known), _box_of(imported, known))
            if "" not in pair and pair[0] != pair[1]:
                found[pair] = f"{module} imports {imported}"
    return found


def _box_of(module: str, known: dict[str, tuple[str, ...]]) -> str:
    for name, parts in known.items():
        if any(module == part or module.startswith(f"{part}.") for part in parts):
            return name
    return ""


def _reached(start: str, drawn: set[Arrow]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        at = todo.pop()
        fresh = {target for source, target in drawn if source == at} - seen
        seen |= fresh
        todo += fresh
    return seen


PICTURE = picture("README.md")
BOXES = boxes(PICTURE)
DRAWN = set(arrows(PICTURE))


def test_both_documents_show_the_same_picture() -> None:
    """README and CONTRIBUTING cannot contradict each other."""
    assert picture("CONTRIBUTING.md") == PICTURE


def test_every_arrow_is_an_import() -> None:
    """Whatever an arrow points to is really imported by what it comes from."""
    assert DRAWN - imports(BOXES).keys() == set()


def test_every_import_is_an_arrow_or_a_path_of_arrows() -> None:
    """No box imports another one that the picture does not lead to."""
    missing = [
        example
        for (source, target), example in imports(BOXES).items()
        if target not in _reached(source, DRAWN)
    ]
    assert missing == []


def test_no_path_of_arrows_is_a_circle() -> None:
    """No box leads back to itself."""
    assert [name for name in BOXES if name in _reached(name, DRAWN)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_has_a_box(package: str) -> None:
    """Every folder of a package, and every file beside the folders, is in a box or small."""
    graph = grimp.build_graph(*PACKAGES)
    absent = [
        module
        for module in sorted(graph.find_children(package))
        if not _box_of(module, BOXES) and module not in SMALL
    ]
    assert absent == []
