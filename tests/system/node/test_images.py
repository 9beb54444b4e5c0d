"""What the images hold, and what they say of themselves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.node import images
from tools.node.images import NodeImages
from tools.node.machine import run

TITLE = "org.opencontainers.image"


@contextmanager
def files_of(image: str) -> Iterator[Path]:
    """Mounts an image's files, for a look at them."""
    container = run("buildah", "from", "--pull-never", image).strip()
    try:
        yield Path(run("buildah", "mount", container).strip())
    finally:
        run("buildah", "rm", container)


@pytest.mark.parametrize("name", ["operator", "worker"])
def test_an_image_says_what_it_is(node_images: NodeImages, name: str) -> None:
    """It is no root's, and labelled; the list of its software names everything with a version."""
    image: str = getattr(node_images, name)
    config = json.loads(run("buildah", "inspect", "--type=image", image))["OCIv1"]["config"]
    labels = config["Labels"]
    assert config["User"] == "10001:10001"
    assert labels[f"{TITLE}.licenses"] == "Apache-2.0"
    assert {f"{TITLE}.{label}" for label in ("title", "version", "revision")} <= set(labels)
    with files_of(image) as root:
        listed = json.loads((root / labels["dev.autodidact.sbom"].lstrip("/")).read_text())
    versions = {part["name"]: part["version"] for part in listed["components"]}
    assert versions.keys() >= {"minio", "pydantic", "kopf" if name == "operator" else "torch"}
    assert all(versions.values())


def test_each_image_has_its_own_side_only(node_images: NodeImages) -> None:
    """No torch where runs are planned, no Kubernetes where models learn, no compiler anywhere."""
    with files_of(node_images.operator) as root:
        found = packages(root)
        assert found >= {"autodidact_operator", "autodidact_contract", "kopf"}
        assert not found & {"autodidact_worker", "torch", "transformers", "pip"}
        assert not (root / "usr/bin/gcc").exists()
    with files_of(node_images.worker) as root:
        found = packages(root)
        assert found >= {"autodidact_worker", "autodidact_contract", "torch", "deepspeed", "trl"}
        assert not found & {"autodidact_operator", "kopf", "kubernetes"}
        assert not (root / "usr/bin/gcc").exists()
        # Made ahead: a pod has nothing to compile it with.
        assert list(
            root.glob("opt/autodidact/lib/python3*/site-packages/**/deepspeed_shm_comm*.so")
        )


def packages(root: Path) -> set[str]:
    """Returns the names of the Python packages of an image of ours."""
    places = [*root.glob("opt/autodidact/lib/python3*/site-packages"), root / "opt/autodidact/code"]
    return {path.name for place in places if place.exists() for path in place.iterdir()}


def test_the_same_source_gives_the_same_image(node_images: NodeImages) -> None:
    """The operator's image built once more, from nothing, has the same files to the last byte."""
    again = images.again("operator", node_images)
    try:
        assert images.layers(again) == images.layers(node_images.operator)
    finally:
        run("buildah", "rmi", "--force", again)
