"""Every product file is found from its test, and every test file from what it tests.

``operator/autodidact_store/keys.py`` is tested by ``tests/autodidact_store/test_keys.py``; a large
subject may have several files, ``test_keys_<part>.py``. A module that only declares (constants,
schemas, errors) needs none: types and the tests of its users hold it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tools.paths import ROOT, TESTS

PACKAGES = (
    ROOT / "operator" / "autodidact_contract",
    ROOT / "operator" / "autodidact_store",
    ROOT / "operator" / "autodidact_operator",
    ROOT / "images" / "worker" / "autodidact_worker",
)


def complaints() -> Iterator[str]:
    """Yields a sentence for every module without a test file and every test file without one."""
    for package in PACKAGES:
        mirror = TESTS / package.name
        modules = {path.relative_to(package) for path in package.rglob("*.py")}
        tests = {path.relative_to(mirror) for path in mirror.rglob("test_*.py")}
        for module in sorted(modules):
            if _acts(package / module) and not any(_is_of(test, module) for test in tests):
                wanted = (mirror / module).with_name(f"test_{module.name}").relative_to(ROOT)
                yield f"{(package / module).relative_to(ROOT)} has no test; write {wanted}"
        for test in sorted(tests):
            if not any(_is_of(test, module) for module in modules):
                yield f"{(mirror / test).relative_to(ROOT)} names no module of {package.name}"


def _is_of(test: Path, module: Path) -> bool:
    name = f"test_{module.stem}"
    return test.parent == module.parent and (test.stem == name or test.stem.startswith(f"{name}_"))


def _acts(path: Path) -> bool:
    """Whether a module defines any function or method that Python does not call by itself."""
    if path.stem in ("__init__", "__main__"):
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not (node.name.startswith("__") and node.name.endswith("__"))
        for node in ast.walk(ast.parse(path.read_text()))
    )
