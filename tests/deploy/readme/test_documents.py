"""What the documents name is there: links, paths and make targets; and there is one version."""

import re
import tomllib

import pytest
import yaml

from tools.paths import CHART, ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "tests/*.md",
        "crds/*.md",
        "charts/**/*.md",
        ".github/**/*.md",
    )
    for path in ROOT.glob(pattern)
)

_TARGETS = re.compile(r"\bmake ((?:[a-z0-9-]+ ?)+)")
_CODE = re.compile(r"`([^`\n]+)`|^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"(?:operator|images|charts|crds|tests|docs)/[\w./-]+")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    """Every file that a document links to exists."""
    page = ROOT / name
    dead = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_target_is_there(name: str) -> None:
    """Every make target that a document gives as a command exists."""
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    codes = ["".join(pair) for pair in _CODE.findall((ROOT / name).read_text())]
    named = {
        target for code in codes for found in _TARGETS.findall(code) for target in found.split()
    }
    assert named - known == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_is_there(name: str) -> None:
    """Every file and folder that a document names by its path from the top exists."""
    codes = [inline for inline, _ in _CODE.findall((ROOT / name).read_text())]
    named = {code for code in codes if _PATH.fullmatch(code)}
    absent = {path for path in named if not (ROOT / path).exists()}
    assert absent == set()


def test_the_version_is_the_same_everywhere() -> None:
    """Package, chart and images are released together."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], str(chart["appVersion"])) == (version, version)
