"""`images/build` takes the first builder that works."""

import subprocess
from pathlib import Path

import pytest

from tools.paths import ROOT

BUILD = ROOT / "images" / "build"


def builder(folder: Path, name: str, *, works: bool) -> None:
    """Writes a builder that only says how it was called."""
    program = folder / name
    program.write_text(f'#!/bin/sh\n[ "$1" = info ] && exit {int(not works)}\necho {name} "$@"\n')
    program.chmod(0o755)


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Builds the operator with the builders of a folder."""
    paths = {"PATH": f"{folder}:/usr/bin:/bin"} | environment
    return subprocess.run(
        [BUILD, "operator"], env=paths, capture_output=True, text=True, check=False
    )


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    """Docker without its daemon, and podman; no buildah works."""
    builder(tmp_path, "docker", works=False)
    builder(tmp_path, "podman", works=True)
    builder(tmp_path, "buildah", works=False)
    return tmp_path


def test_docker_without_its_daemon_is_passed_over(builders: Path) -> None:
    """The next one is told to give everything the same time."""
    done = run(builders, SOURCE_DATE_EPOCH="7", TAG="x")
    assert done.returncode == 0, done.stderr
    first, call = done.stdout.splitlines()
    assert first == "building operator with podman"
    assert call.startswith("podman build --layers --timestamp 7 --file images/operator/Containerf")
    assert "--tag autodidact/operator:x " in call


def test_a_builder_that_is_named_is_taken(builders: Path) -> None:
    """Whether it works is for it to say."""
    done = run(builders, BUILDER="docker")
    assert done.stdout.splitlines()[1].startswith("docker build --file ")


def test_without_a_builder_the_remedy_is_said(builders: Path) -> None:
    """No image, and an error."""
    builder(builders, "podman", works=False)
    done = run(builders)
    assert (done.returncode, done.stdout) == (1, "")
    assert "docker with its daemon, podman or buildah is needed" in done.stderr
