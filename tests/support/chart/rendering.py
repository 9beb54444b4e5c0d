"""Renders the chart with the real Helm and finds objects in what comes out."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from autodidact_contract.api import crd
from tools.cluster import tools
from tools.paths import CHART

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns what Helm answered, without a cluster."""
    return subprocess.run(
        [tools.find("helm"), *arguments], capture_output=True, text=True, check=False
    )


def copy(folder: Path) -> Path:
    """Returns a copy of the chart whose definitions are those of the models as they are now."""
    chart = folder / CHART.name
    shutil.copytree(CHART, chart)
    files = chart / "files" / "crds"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    for plural, definition in crd.definitions().items():
        (files / f"{plural}.yaml").write_text(yaml.safe_dump(definition))
    return chart


def render(chart: Path, *arguments: str) -> list[Object]:
    """Returns the objects of a release named `learn` in the namespace `lab`.

    Raises:
        AssertionError: If Helm refuses; with its words.
    """
    answer = helm("template", "learn", str(chart), "--namespace", "lab", *arguments)
    assert answer.returncode == 0, answer.stderr
    return [item for item in yaml.safe_load_all(answer.stdout) if item]


def readme(chart: Path) -> str:
    """Returns the chart's README."""
    return (chart / "README.md").read_text()


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Returns the objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


def only(objects: list[Object], kind: str) -> Object:
    """Returns the one object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def pods(objects: list[Object]) -> list[Object]:
    """Returns the spec of every pod, whatever creates it."""
    templates = [item["spec"]["template"]["spec"] for item in objects if "template" in _spec(item)]
    return [*templates, *(item["spec"] for item in of_kind(objects, "Pod"))]


def containers(objects: list[Object]) -> list[Object]:
    """Returns every container of every pod."""
    return [
        container
        for pod in pods(objects)
        for container in (*pod.get("initContainers", ()), *pod["containers"])
    ]


def _spec(item: Object) -> Object:
    return item.get("spec") or {}


def container(objects: list[Object]) -> Object:
    """Returns the operator's container."""
    (found,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(objects: list[Object]) -> dict[str, Any]:
    """Returns the operator's environment: value by name, a field's path for references."""
    return {
        item["name"]: item.get(
            "value", item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        )
        for item in container(objects)["env"]
    }


def rules(objects: list[Object]) -> list[Object]:
    """Returns the rules of all roles that are bound to the operator."""
    bound = {
        binding["roleRef"]["name"]
        for kind in ("ClusterRoleBinding", "RoleBinding")
        for binding in of_kind(objects, kind)
    }
    roles = [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]
    return [rule for role in roles if role["metadata"]["name"] in bound for rule in role["rules"]]
