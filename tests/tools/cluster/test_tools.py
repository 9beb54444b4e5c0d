"""Building the cluster's programs, with a stand-in for Go."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools.cluster import tools

_ETCD = next(module for module in tools.MODULES if module.name == "etcd")
_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go{version}; exit; fi
echo install >> "$CALLS"
{install}
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one line for each build, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def _provide_go(directory: Path, install: str, version: str = "99.1") -> None:
    go = directory / "go"
    go.write_text(_GO.format(version=version, install=install))
    go.chmod(0o755)


def test_a_module_is_built_once(calls: Path, tmp_path: Path) -> None:
    """Two that need the same program at the same time wait for one build of it."""
    _provide_go(tmp_path, 'sleep 0.2; mkdir -p "$GOBIN"; echo program > "$GOBIN/server"')
    lines: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(lambda _: tools.build(_ETCD, lines.append), range(2)))
    assert [(path / "etcd").read_text() for path in found] == ["program\n"]
    assert calls.read_text() == "install\n"
    assert any(line.startswith("building etcd (once") for line in lines)


def test_a_failed_build_leaves_nothing(calls: Path, tmp_path: Path) -> None:
    """A build that fails raises with the compiler's words and is tried again the next time."""
    _provide_go(tmp_path, "echo no space >&2; exit 1")
    for _ in range(2):
        with pytest.raises(tools.ToolError, match="no space"):
            tools.build(_ETCD, print)
    assert calls.read_text() == "install\ninstall\n"


def test_the_cache_knows_what_was_asked_for(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version in go.mod is another directory of the cache."""
    _provide_go(tmp_path, 'mkdir -p "$GOBIN"; touch "$GOBIN/server"')
    first = tools.build(_ETCD, print)
    modules = tmp_path / "modules"
    (modules / "etcd").mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        content = (_ETCD.directory / name).read_text()
        (modules / "etcd" / name).write_text(content + "// changed\n")
    monkeypatch.setattr(tools, "MODULES_DIRECTORY", modules)
    assert tools.build(_ETCD, print) != first
    assert calls.read_text() == "install\ninstall\n"
