"""containerd on a machine, with images that stay from one machine to the next.

Unpacked images take gigabytes, so they lie in the cache; one machine uses them at a time.
"""

import fcntl
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import tools
from tools.cluster.processes import Process, ProcessError
from tools.node.configuration import SOCKET
from tools.node.machine import Machine, run

_CTR = ("ctr", f"--address={SOCKET}", "--namespace=k8s.io")
# Only what imports images: without Kubernetes' part nothing starts what the last machine left.
_BARE = """\
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{socket}"
"""


@contextmanager
def exclusive_directory() -> Iterator[Path]:
    """Yields the directory of the images, for machines that end before; others wait meanwhile."""
    cache = tools.cache_directory() / "node"
    directory = cache / "containerd"
    directory.mkdir(parents=True, exist_ok=True)
    with (cache / "containerd.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tools.print_progress("waiting for another real node on this machine to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # One may have been left by somebody who was killed.
        shutil.rmtree(_twin_of(directory), ignore_errors=True)
        try:
            yield directory
        finally:
            shutil.rmtree(_twin_of(directory), ignore_errors=True)


def _twin_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}-twin")


class ImageStore:
    """A machine's containerd and what it has.

    Args:
        machine: Where it runs.
        directory: containerd's root directory, of `exclusive_directory`.
    """

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self.directory = directory

    def hold(self, images: Iterable[str]) -> None:
        """Makes these images of buildah's the only ones here; nothing else must be running."""
        wanted = set(images)
        bare = self._machine.directory / "containerd-bare.toml"
        bare.write_text(_BARE.format(root=self.directory, socket=SOCKET))
        process = self._start(bare)
        leftover = self._ctr("containers", "list", "--quiet").split()
        if leftover:
            self._ctr("containers", "remove", *leftover)
        present = set(self._ctr("images", "list", "--quiet").split())
        if present - wanted:
            self._ctr("images", "remove", "--sync", *sorted(present - wanted))
        for image in sorted(wanted - present):
            self._import(image)
        process.stop(grace_s=10.0)

    def twin(self, machine: Machine) -> "ImageStore":
        """Returns a store for another machine that has the same images; to be made before `serve`.

        Blobs and unpacked layers never change and are hard links, which take no room; databases do
        and are copies.
        """
        directory = _twin_of(self.directory)
        run("cp", "--archive", "--link", self.directory, directory)
        for database in directory.glob("*/*.db"):
            database.unlink()
            shutil.copyfile(self.directory / database.relative_to(directory), database)
        return ImageStore(machine, directory)

    def serve(self, configuration: Path) -> None:
        """Starts containerd for a kubelet; returns when it answers."""
        self._start(configuration)

    def _start(self, configuration: Path) -> Process:
        process = self._machine.start("containerd", ["containerd", f"--config={configuration}"])
        process.wait_until(self._answers)
        return process

    def _answers(self) -> bool:
        try:
            self._ctr("version")
        except ProcessError:
            return False
        return True

    def _ctr(self, *arguments: str) -> str:
        return self._machine.run(*_CTR, *arguments)

    def _import(self, image: str) -> None:
        """Imports an image; layers that are here already are not moved again."""
        with tempfile.TemporaryDirectory(dir=self.directory.parent) as scratch:
            layout = Path(scratch)
            run("buildah", "push", image, f"oci:{layout}:image")
            index = json.loads((layout / "index.json").read_text())
            index["manifests"][0]["annotations"] = {"io.containerd.image.name": image}
            (layout / "index.json").write_text(json.dumps(index))
            present = set(self._ctr("content", "list", "--quiet").split())
            blobs = [
                str(blob.relative_to(layout))
                for blob in (layout / "blobs" / "sha256").iterdir()
                if f"sha256:{blob.name}" not in present
            ]
            pack = ["tar", f"--directory={layout}", "--create", "oci-layout", "index.json", *blobs]
            unpack = [*_CTR, "images", "import", "-"]
            self._machine.run("sh", "-c", f"{shlex.join(pack)} | {shlex.join(unpack)}")
