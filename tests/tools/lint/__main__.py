"""``python -m tools.lint``: rules of the house that no other linter knows."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tools.lint import mirror
from tools.paths import ROOT

GENERATED = (ROOT / "crds", ROOT / "charts" / "autodidact-operator" / "files" / "crds")


def main() -> int:
    """Prints what is wrong; returns 1 if anything is."""
    complaints = [*_shadowing(), *_drift(), *_addresses(), *mirror.complaints()]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def _shadowing() -> list[str]:
    """A package of one of these names would hide the standard library's operator module."""
    found = [ROOT / "operator" / "__init__.py", ROOT / "tests" / "operator"]
    return [f"{path} shadows the standard module operator" for path in found if path.exists()]


def _drift() -> list[str]:
    """Generated files must be what the models generate."""
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "autodidact_operator.cli", "crds", "--output", folder]
        subprocess.run(command, check=True)
        for fresh in sorted(Path(folder).iterdir()):
            for place in GENERATED:
                path = place / fresh.name
                if not path.exists() or path.read_text() != fresh.read_text():
                    complaints.append(f"{path} is not up to date; run make generate")
    return complaints


def _addresses() -> list[str]:
    """Locks hold names, versions and hashes, never the address of a registry."""
    locks = sorted(ROOT.glob("**/requirements.txt"))
    return [
        f"{path}:{number} holds an address"
        for path in locks
        if ".venv" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "://" in line or "--index" in line
    ]


if __name__ == "__main__":
    sys.exit(main())
