"""The images of a real node, built with buildah and named by a digest of what they are made of.

The base is Debian with Python, made by debootstrap. It trusts this machine's certificates and has
its pip settings, since package registries may be reached in a way of the machine's own.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tools.cluster import tools
from tools.cluster.processes import ProcessError
from tools.node.configuration import PAUSE_IMAGE
from tools.node.machine import run
from tools.paths import ROOT

_PREFIX = "localhost/autodidact/"
# What images/*/Containerfile may copy.
_INPUTS = ("images", "operator", "pyproject.toml", "README.md", "LICENSE")

_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_PIP_SETTINGS = Path("etc/pip.conf")
_BASE = "FROM scratch\nADD root.tar /\nENV {environment}\n"
_PROGRAM = 'FROM scratch\nCOPY {0} /usr/bin/{0}\nUSER 10001:10001\nENTRYPOINT ["/usr/bin/{0}"]\n'


@dataclass(frozen=True, kw_only=True)
class NodeImages:
    """Names of all images of a real node; `build` makes what is missing.

    Attributes:
        base: Python and nothing else, for pods of tests.
        foreign: Its `python` is no program for this machine's processor.
    """

    base: str
    foreign: str
    minio: str
    operator: str
    pause: str
    worker: str

    @classmethod
    def build(cls) -> Self:
        """Builds what is not there in its present form."""
        return cls(
            base=base(),
            foreign=foreign(),
            minio=minio(),
            operator=ours("operator"),
            pause=pause(),
            worker=ours("worker"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.base, self.foreign, self.minio, self.operator, self.pause, self.worker)


def base() -> str:
    """Returns the name of the base image."""
    certificates = (Path("/") / _CERTIFICATES).read_bytes()
    settings = _pip_settings()
    recipe = "\n".join([_SUITE, *_PACKAGES, _BASE, settings]).encode()
    return _built("base", _digest(recipe, certificates), lambda name: _build_base(name, settings))


def ours(image: str) -> str:
    """Returns the name of the image of `images/<image>/Containerfile`."""
    origin = base()
    listed = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", *_INPUTS)
    files = [file for file in sorted(set(listed.splitlines())) if (ROOT / file).is_file()]
    contents = (part for file in files for part in (file.encode(), (ROOT / file).read_bytes()))
    digest = _digest(origin.encode(), *contents)
    return _built(image, digest, lambda name: _build_ours(image, name, origin))


def again(image: str, images: NodeImages) -> str:
    """Builds an image of ours once more without anything that is there; returns its name."""
    name = f"{_PREFIX}{image}:again"
    _build_ours(image, name, images.base, flags="--no-cache")
    return name


def layers(image: str) -> list[str]:
    """Returns the digests of what an image's layers hold."""
    text = run("buildah", "inspect", "--type=image", image)
    found: list[str] = json.loads(text)["OCIv1"]["rootfs"]["diff_ids"]
    return found


def minio() -> str:
    """Returns the name of an image of nothing but MinIO."""
    program = tools.find("minio")
    recipe = _PROGRAM.format("minio")
    # The path holds a digest of what the program was built from.
    digest = _digest(recipe.encode(), str(program).encode())
    return _built("minio", digest, lambda name: _build(name, recipe, {"minio": program}))


def foreign() -> str:
    """Returns the name of an image whose `python` the kernel refuses to run."""
    recipe = _PROGRAM.format("python")

    def build(name: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            program = Path(scratch) / "python"
            program.write_bytes(b"\x7fELF of another machine")
            _build(name, recipe, {"python": program})

    return _built("foreign", _digest(recipe.encode()), build)


def pause() -> str:
    """Returns the name of the image that holds a pod's namespaces."""
    source = Path(__file__).with_name("pause.c")
    recipe = _PROGRAM.format("pause")

    def build(name: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            program = Path(scratch) / "pause"
            run("gcc", "-static", "-Os", "-o", program, source)
            _build(name, recipe, {"pause": program})
            run("buildah", "tag", name, PAUSE_IMAGE)

    _built("pause", _digest(recipe.encode(), source.read_bytes()), build)
    return PAUSE_IMAGE


def size(image: str) -> str:
    """Returns how large an image is, as people read it."""
    listed = run("buildah", "images", "--noheading", "--format", "{{.Size}}", image)
    # One line for each of its names.
    return listed.splitlines()[0]


def _built(image: str, digest: str, build: Callable[[str], None]) -> str:
    """Returns an image's name; older ones make room if it has to be built."""
    name = f"{_PREFIX}{image}:{digest}"
    if name in _present():
        return name
    tools.print_progress(f"building {name}")
    started = time.monotonic()
    build(name)
    tools.print_progress(f"built {name} in {time.monotonic() - started:.0f} s")
    for old in _present():
        if old.startswith(f"{_PREFIX}{image}:") and old not in (name, PAUSE_IMAGE):
            run("buildah", "rmi", "--force", old)
    return name


def _present() -> set[str]:
    names = run("buildah", "images", "--noheading", "--format", "{{.Name}}:{{.Tag}}")
    return set(names.split())


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _build_ours(image: str, name: str, origin: str, flags: str = "") -> None:
    environment = os.environ | {
        "FLAGS": flags,
        "BUILDER": "buildah",
        "BUILDAH_ISOLATION": "chroot",
        "BASE": origin,
        "PREFIX": _PREFIX,
        "TAG": name.rpartition(":")[2],
        # Not the commit's time, which would make layers new that are not.
        "SOURCE_DATE_EPOCH": "0",
    }
    answer = subprocess.run(
        [ROOT / "images" / "build", image],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise ProcessError(f"images/build {image}: {answer.stdout[-2000:]}{answer.stderr[-4000:]}")


def _build_base(name: str, settings: str) -> None:
    with tempfile.TemporaryDirectory(dir=_scratch()) as scratch:
        root = Path(scratch) / "root"
        run("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, root)
        shutil.copyfile(Path("/") / _CERTIFICATES, root / _CERTIFICATES)
        (root / _PIP_SETTINGS).write_text(settings)
        # What apt-get downloaded.
        shutil.rmtree(root / "var/cache/apt/archives")
        archive = Path(scratch) / "root.tar"
        run("tar", f"--directory={root}", "--create", f"--file={archive}", ".")
        variables = " ".join(f"{name}=/{_CERTIFICATES}" for name in _CERTIFICATE_VARIABLES)
        _build(name, _BASE.format(environment=variables), {"root.tar": archive})


def _build(name: str, containerfile: str, files: Mapping[str, Path]) -> None:
    with tempfile.TemporaryDirectory(dir=_scratch()) as scratch:
        context = Path(scratch)
        (context / "Containerfile").write_text(containerfile)
        for file, origin in files.items():
            shutil.copyfile(origin, context / file)
            (context / file).chmod(0o755)
        options = ("--isolation=chroot", "--timestamp=0", "--tag", name)
        run("buildah", "build", *options, context)


def _scratch() -> Path:
    directory = tools.cache_directory() / "node"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _pip_settings() -> str:
    """Returns this machine's settings of where pip finds packages, in pip.conf's form."""
    lines = run("python3", "-m", "pip", "config", "list").splitlines()
    wanted = ("index-url", "extra-index-url", "trusted-host")
    found = dict(line.split("=", 1) for line in lines)
    settings = {key.rpartition(".")[2]: value.strip("'") for key, value in sorted(found.items())}
    chosen = [f"{key} = {value}" for key, value in settings.items() if key in wanted]
    return "\n".join(["[global]", *chosen, ""])
