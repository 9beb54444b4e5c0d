"""What each side loads, in a fresh interpreter."""

import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import autodidact_contract
import autodidact_operator
import autodidact_operator.plan
from support.builders import EXAMPLES

pytestmark = pytest.mark.training

MACHINE_LEARNING = {"torch", "transformers", "trl", "deepspeed", "datasets", "autodidact_worker"}
CLUSTER = {"kopf", "kubernetes"}


def loaded(code: str) -> set[str]:
    """Returns the top-level modules that are loaded after some code ran."""
    script = (
        f"import sys\n{code}\nprint()\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(answer.stdout.splitlines()[-1].split())


PURE = ("jobs", "observe", "specs")
"""Modules of ``runs`` that make or read manifests."""


def modules(package: ModuleType) -> list[str]:
    """Returns the names of all modules of a package; not those that start a program."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found if not m.name.endswith("cli.__main__"))]


def imports(*modules: str) -> str:
    """Returns code that imports modules."""
    return "\n".join(f"import {module}" for module in modules)


def test_contract_needs_pydantic_alone() -> None:
    """The contract loads nothing but pydantic, what that loads, and the standard library."""
    ours = loaded(imports(*modules(autodidact_contract)))
    model = "class Model(pydantic.BaseModel):\n    size: int = pydantic.Field(ge=0)"
    theirs = loaded(f"{imports('pydantic', 'pydantic.alias_generators')}\n{model}")
    extra = {name for name in ours - theirs if not name.startswith("_sysconfigdata")}
    assert extra - set(sys.stdlib_module_names) == {"autodidact_contract"}


def test_operator_loads_no_machine_learning() -> None:
    """The whole operator runs without torch, transformers or the worker."""
    assert not loaded(imports(*modules(autodidact_operator))) & MACHINE_LEARNING


CLI = "import contextlib\nfrom autodidact_operator.cli import main\nwith contextlib.suppress(SystemExit): main({!r})"


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "crds", f"validate {EXAMPLES}/selfreward-toy.yaml"]
)
def test_command_line_needs_no_cluster(command: str) -> None:
    """On one machine neither kopf nor a Kubernetes client is loaded, and no torch."""
    assert not loaded(CLI.format(command.split())) & (CLUSTER | MACHINE_LEARNING)


def test_local_mode_needs_no_cluster() -> None:
    """Local mode drives a run without loading anything of a cluster."""
    assert not loaded(imports("autodidact_operator.local.run")) & (CLUSTER | MACHINE_LEARNING)


def test_planner_needs_no_client() -> None:
    """Decisions and manifests are made without loading any client or event loop."""
    ours = (*modules(autodidact_operator.plan), *(f"autodidact_operator.runs.{n}" for n in PURE))
    found = loaded(imports(*ours))
    assert not found & (CLUSTER | MACHINE_LEARNING | {"aiohttp", "minio", "requests"})


def test_worker_loads_no_cluster() -> None:
    """The worker's frame knows neither kopf nor a Kubernetes client nor the operator."""
    found = loaded(imports("autodidact_worker.__main__", "autodidact_worker.runtime.frame"))
    assert not found & (CLUSTER | {"autodidact_operator"})
