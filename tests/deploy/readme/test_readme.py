"""The README is run: its commands in order, its manifests against a real API server."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tools.cluster.control_plane import Cluster
from tools.cluster.processes import free_ports
from tools.installation import BUCKET, NODE, Installation
from tools.paths import EXAMPLES, ROOT

README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """Returns a section of the README with its sections below it."""
    _, found, rest = README.partition(f"\n## {title}\n")
    assert found, f"the README has no section {title}"
    return rest.partition("\n## ")[0]


def blocks(title: str, language: str) -> list[str]:
    """Returns the blocks of one language in a section."""
    return [
        match["text"] for match in _BLOCK.finditer(section(title)) if match["language"] == language
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository's and can be written to, with all installed."""
    venv = tmp_path / ".venv"
    venv.mkdir()
    for origin, folder in ((ROOT, tmp_path), (ROOT / ".venv", venv)):
        for path in origin.iterdir():
            if path.name not in ("out", ".git", ".venv", ".installed"):
                (folder / path.name).symlink_to(path)
    # Newer than everything: make would otherwise install this folder where ROOT is installed.
    (venv / ".installed").touch()
    return tmp_path


class Reader:
    """A person with a shell who does what the README says."""

    def __init__(self, checkout: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.installation = Installation(cluster=cluster)
        self.checkout = checkout
        [self.port] = free_ports(1)

    def do(self, commands: str) -> str:
        """Runs commands in one shell; the first that fails ends it."""
        # Pods of the development cluster share this machine's ports, and one operator is enough.
        commands = commands.replace(
            "helm upgrade --install",
            "helm upgrade --install --set replicas=1"
            f" --set containerPort={self.port} --set service.port={self.port}",
        )
        store = self.cluster.minio
        environment = {
            **os.environ,
            **self.cluster.environment,
            **self.installation.store_environment(),
            "PATH": f"{self._tools()}:{os.environ['PATH']}",
            "S3_ENDPOINT": f"http://{store.endpoint}",
            "S3_ACCESS_KEY": store.access_key,
            "S3_SECRET_KEY": store.secret_key,
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _tools(self) -> str:
        folder = self.checkout / "tools"
        folder.mkdir(exist_ok=True)
        for name in ("kubectl", "helm"):
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(self.cluster.tool(name))
        return str(folder)


@pytest.fixture
def plane() -> Iterator[Cluster]:
    """A cluster of the README's own: what it installs is cluster-wide."""
    with Cluster() as cluster:
        cluster.add_node(NODE)
        yield cluster


@pytest.mark.thorough
def test_the_commands_work_in_the_order_they_stand(checkout: Path, plane: Cluster) -> None:
    """Install, a namespace, a profile, runs, and all that is shown for watching them."""
    reader = Reader(checkout, plane)
    reader.installation.make_bucket()
    for commands in blocks("Install on a cluster", "sh"):
        reader.do(commands)
    for manifest in blocks("Install on a cluster", "yaml"):
        plane.kubectl("apply", "-f", "-", input_text=manifest)
    for manifest in blocks("A first run on your own model", "yaml"):
        plane.kubectl("apply", "--dry-run=server", "-f", "-", input_text=manifest)
    toy = yaml.safe_load((EXAMPLES / "selfreward-toy.yaml").read_text())
    toy["metadata"]["namespace"] = "research"
    toy["spec"]["iterations"] = 1
    toy["spec"]["warmUp"]["epochs"] = 2
    toy["spec"]["prompts"]["perIteration"] = 64
    toy["spec"]["gates"]["minPairs"]["limit"] = 1
    plane.apply(toy)
    watching = blocks("Watch, stop, resume, fork, clean up", "sh")
    printed = [reader.do(commands) for commands in watching]
    assert "PROGRESS" in printed[0]
    assert "condition met" in printed[0]
    assert (checkout / "out" / "report" / "report.html").stat().st_size > 10_000
    for command in re.findall(r"`(kubectl patch [^`]+)`", README):
        reader.do(command.replace("kubectl", "kubectl --namespace research"))


@pytest.mark.thorough
def test_local_mode_improves_the_toy(checkout: Path, plane: Cluster) -> None:
    """The commands without Kubernetes make a model that is better by 0.8 of 5 or more."""
    [commands] = blocks("Without Kubernetes", "sh")
    printed = Reader(checkout, plane).do(commands)
    rows = [cells for line in printed.splitlines() if (cells := _figures(line))]
    # M1 has no pairs and no battles: its quality is in the second column that is filled.
    quality = {cells[0]: float(cells[1] if len(cells) == 3 else cells[3]) for cells in rows}
    assert quality["M2"] - quality["M1"] >= 0.8
    assert "report.html" in printed


def _figures(line: str) -> list[str] | None:
    """Returns the cells of a line of the table of results that has a judge's accuracy."""
    cells = line.split()
    filled = len(cells) in (3, 7) and re.fullmatch(r"M\d", cells[0]) and cells[-1].endswith("%")
    return cells if filled else None


def test_bucket_is_the_readmes() -> None:
    """The README's bucket is the one the tests make."""
    assert f"store.bucket={BUCKET} " in README
