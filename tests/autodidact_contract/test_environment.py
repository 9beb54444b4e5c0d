"""Every environment variable of ours is known, and set and read by those that the table names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from autodidact_contract import environment
from autodidact_contract.environment import ENGINES, PREFIX, VARIABLES
from autodidact_operator.settings import Settings, variable
from tools.paths import ROOT

OPERATOR, WORKER = ROOT / "operator", ROOT / "images" / "worker"
TABLE = OPERATOR / "autodidact_contract" / "environment.py"
NAMED = re.compile(rf"\b{PREFIX}[A-Z_]+\b")


CONSTANTS = {
    name: value
    for name, value in vars(environment).items()
    if isinstance(value, str) and value.startswith(PREFIX) and value != PREFIX
}
"""Variables by the name of their constant."""


def sources() -> list[Path]:
    """Returns the modules of the product."""
    return [path for package in (OPERATOR, WORKER) for path in sorted(package.rglob("*.py"))]


def docstrings(tree: ast.Module) -> set[int]:
    """Returns the identities of the strings that only document."""
    found = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                found.add(id(one.value))
    return found


def literals(path: Path) -> Iterator[str]:
    """Yields the strings of a module that its code uses."""
    tree = ast.parse(path.read_text())
    said = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def module(path: Path) -> str:
    """Returns the dotted name of a module of the product."""
    base = OPERATOR if path.is_relative_to(OPERATOR) else WORKER
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def constants_in(path: Path) -> set[str]:
    """Returns the constants of variables that a module takes from the table."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "environment":
                found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == environment.__name__:
            found |= {one.name for one in node.names}
    return found & set(CONSTANTS)


def known() -> set[str]:
    """Returns the names of all variables, those of the operator's settings too."""
    own = {variable(field) for field in Settings.model_fields}
    return {row.name for row in VARIABLES} | {name for name in own if name.startswith(PREFIX)}


def test_no_module_spells_a_variable_out() -> None:
    """The code takes the names from the table."""
    found = [
        f"{module(path)}: {text}"
        for path in sources()
        if path != TABLE
        for text in literals(path)
        if PREFIX in text
    ]
    assert found == []


def test_every_constant_has_one_row() -> None:
    """No variable is without its row, and no row without its constant."""
    assert sorted(row.name for row in VARIABLES) == sorted(CONSTANTS.values())


def test_docstrings_and_charts_name_known_variables_only() -> None:
    """What is written about a variable, or sets one, means one that there is."""
    places = [*sources(), *sorted((ROOT / "charts").rglob("*")), ROOT / "README.md"]
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in places
        if path.is_file()
        for name in NAMED.findall(path.read_text())
        if name not in known()
    }
    assert found == set()


def test_the_table_says_who_sets_and_reads() -> None:
    """A module uses the constant of a variable exactly where the table names the module."""
    wanted = {
        (row.name, place)
        for row in VARIABLES
        for place in (*row.set_by, *row.read_by)
        if place.startswith("autodidact")
    }
    used = {
        (CONSTANTS[name], module(path))
        for path in sources()
        if path != TABLE
        for name in constants_in(path)
    }
    texts = {  # They name it for people.
        (environment.ENGINE, "autodidact_operator.cli.run"),
        (environment.ENGINE_URL, "autodidact_operator.cli.run"),
        (environment.TASK, "autodidact_worker.__main__"),
        (environment.STORE, "autodidact_worker.__main__"),
    }
    assert used - texts == wanted


def test_every_engine_is_a_module_of_the_worker() -> None:
    """The worker finds an engine by its name."""
    folder = WORKER / "autodidact_worker" / "generation"
    assert [name for name in ENGINES if not (folder / f"{name}.py").is_file()] == []
