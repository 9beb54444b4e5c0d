"""What each side loads, in a fresh interpreter."""

import subprocess
import sys

import pytest

from planning.builders import EXAMPLES

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


def imports(*modules: str) -> str:
    """Returns code that imports modules."""
    return "\n".join(f"import {module}" for module in modules)


def test_contract_needs_pydantic_alone() -> None:
    """The contract loads nothing but pydantic, what that loads, and the standard library."""
    names = ("artifacts", "base", "crd", "records", "resources", "selfreward", "stages")
    ours = loaded(imports(*(f"autodidact_contract.{name}" for name in names)))
    model = "class Model(pydantic.BaseModel):\n    size: int = pydantic.Field(ge=0)"
    theirs = loaded(f"{imports('pydantic', 'pydantic.alias_generators')}\n{model}")
    extra = {name for name in ours - theirs if not name.startswith("_sysconfigdata")}
    assert extra - set(sys.stdlib_module_names) == {"autodidact_contract"}


def test_operator_loads_no_machine_learning() -> None:
    """The whole operator runs without torch, transformers or the worker."""
    names = ("__main__", "process", "reconcile", "world", "web", "cli", "local")
    assert not loaded(imports(*(f"autodidact_operator.{n}" for n in names))) & MACHINE_LEARNING


CLI = "import contextlib\nfrom autodidact_operator.cli import main\nwith contextlib.suppress(SystemExit): main({!r})"


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "crds", f"validate {EXAMPLES}/selfreward-toy.yaml"]
)
def test_command_line_needs_no_cluster(command: str) -> None:
    """On one machine neither kopf nor a Kubernetes client is loaded, and no torch."""
    assert not loaded(CLI.format(command.split())) & (CLUSTER | MACHINE_LEARNING)


def test_local_mode_needs_no_cluster() -> None:
    """Local mode drives a run without loading anything of a cluster."""
    assert not loaded(imports("autodidact_operator.local")) & (CLUSTER | MACHINE_LEARNING)


def test_planner_needs_no_client() -> None:
    """Decisions and manifests are made without loading any client or event loop."""
    names = ("plan.decide", "plan.selfreward", "jobs", "observe", "specs", "recipes")
    found = loaded(imports(*(f"autodidact_operator.{name}" for name in names)))
    assert not found & (CLUSTER | MACHINE_LEARNING | {"aiohttp", "minio", "requests"})


def test_worker_loads_no_cluster() -> None:
    """The worker's frame knows neither kopf nor a Kubernetes client nor the operator."""
    found = loaded(imports("autodidact_worker.__main__", "autodidact_worker.frame"))
    assert not found & (CLUSTER | {"autodidact_operator"})
