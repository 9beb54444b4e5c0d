"""The whole rendered chart as it is written down, for each set of values."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support import golden
from support.chart import rendering, values
from tools.cluster import tools

pytestmark = pytest.mark.cluster

KUSTOMIZE = rendering.CHART.parent / "kustomize" / "operator.yaml"


@pytest.mark.parametrize("name", values.SETS)
def test_chart_renders_as_written_down(name: str, chart: Path, tmp_path: Path) -> None:
    """What is installed does not change by accident; definitions have a test of their own."""
    objects = rendering.render(chart, "--values", str(values.file(tmp_path, name)))
    golden.check(
        f"chart-{name}",
        [item for item in objects if item["kind"] != "CustomResourceDefinition"],
    )


@pytest.mark.parametrize("name", values.SETS)
def test_lint_is_clean_for_every_set(name: str, chart: Path, tmp_path: Path) -> None:
    """Helm's strict linter has nothing to say."""
    arguments = ("--values", str(values.file(tmp_path, name)))
    answer = rendering.helm("lint", "--strict", str(chart), *arguments)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_kustomize_base_is_the_chart() -> None:
    """The base for Kustomize is what the chart renders by default; UPDATE_GOLDEN=1 writes it."""
    answer = rendering.helm(
        *("template", "autodidact", str(rendering.CHART), "--namespace", "autodidact-system"),
        *("--set", "crds.install=false", "--skip-tests"),
        *("--api-versions", "autodidact.dev/v1alpha1/ComputeProfile"),
    )
    assert answer.returncode == 0, answer.stderr
    golden.check_text(KUSTOMIZE, answer.stdout)


@pytest.mark.parametrize("name", values.SETS)
def test_every_image_comes_from_the_values(name: str, chart: Path, tmp_path: Path) -> None:
    """With a mirror in the values nothing is pulled from elsewhere: an air-gapped cluster works."""
    mirror = "mirror.example:5000"
    parts = ("image.repository", "worker.image.repository", "minio.image.repository")
    given = ",".join(f"{part}={mirror}/{part}" for part in parts)
    arguments = ("--values", str(values.file(tmp_path, name)), "--set", given)
    answer = rendering.helm("template", "learn", str(chart), "--namespace", "lab", *arguments)
    assert answer.returncode == 0, answer.stderr
    images = re.findall(r"^\s*(?:- )?image: *\"?([^\"\n]+)", answer.stdout, re.MULTILINE)
    images.append(
        rendering.environment(rendering.render(chart, *arguments))["AUTODIDACT_WORKER_IMAGE"]
    )
    assert images
    assert all(image.startswith(f"{mirror}/") for image in images), images
    # Neither a repository of the defaults nor a tool that a hook would fetch.
    assert not re.search(r"ghcr\.io|quay\.io|docker\.io|curl |wget |pip install", answer.stdout)


def test_digests_are_pinned_everywhere(chart: Path, tmp_path: Path) -> None:
    """With digests in the values every image is named by its digest."""
    objects = rendering.render(chart, "--values", str(values.file(tmp_path, "everything")))
    images = [container["image"] for container in rendering.containers(objects)]
    images.append(rendering.environment(objects)["AUTODIDACT_WORKER_IMAGE"])
    assert len(images) == 5
    assert all(image.endswith(f"@{values.DIGEST}") for image in images), images


def test_the_list_of_images_in_the_readme_is_complete(chart: Path, tmp_path: Path) -> None:
    """The README's command for air-gapped installs prints every image, the workers' included."""
    [command] = re.findall(r"^helm template .*_IMAGE.*$", rendering.readme(chart), re.MULTILINE)
    given = values.file(tmp_path, "everything")
    command = command.replace("charts/autodidact-operator", str(chart))
    printed = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("my-values.yaml", str(given))],
        env={"PATH": f"{tools.find('helm').parent}:{os.defpath}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    objects = rendering.render(chart, "--values", str(given))
    assert set(printed.split()) == {
        *(container["image"] for container in rendering.containers(objects)),
        rendering.environment(objects)["AUTODIDACT_WORKER_IMAGE"],
    }
