"""Whatever names the kinds of run outside Python names all of them."""

import re

import pytest
import yaml

from autodidact_contract.api.kinds import BY_KIND, KINDS
from autodidact_contract.api.status import Iteration
from autodidact_operator.plan import recipes
from tools.paths import ROOT

CHART = ROOT / "charts" / "autodidact-operator"
PLURALS = [row.plural for row in KINDS]


def test_every_kind_has_a_graph_and_a_report() -> None:
    """A row is complete: the planner makes its graph, the worker tells its report."""
    assert [recipe.row for recipe in recipes.RECIPES] == list(KINDS)
    reports = ROOT / "images" / "worker" / "autodidact_worker" / "report"
    assert [
        row.report for row in KINDS if not (reports / row.report / "__init__.py").exists()
    ] == []


def test_columns_and_scores_are_figures_of_a_model() -> None:
    """The table and the score show fields of the history, each under one heading."""
    figures = [column.figure for row in KINDS for column in row.columns]
    assert len(set(figures)) == len(figures)
    assert {*figures, *(name for row in KINDS for name in row.score)} <= set(Iteration.model_fields)


def test_the_chart_serves_all_kinds() -> None:
    """The chart's one list has every kind; its notes and its release test know them too."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    found = re.search(r'define "autodidact.runKinds" -}}\n{{- list (.*) \| toJson', helpers)
    assert found is not None
    assert found[1].replace('"', "").split() == PLURALS
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    for name in re.findall(r"kind: (\w+Run)\b", notes):
        assert name in BY_KIND
    for name in re.findall(r"kubectl get (\w+)", notes):
        assert name in PLURALS
    release = (CHART / "files" / "check_release.py").read_text()
    served = re.search(r"^KINDS = {(.*)}$", release, re.MULTILINE)
    assert served is not None
    assert set(re.findall(r'"(\w+)"', served[1])) == {*BY_KIND, "ComputeProfile"}


@pytest.mark.parametrize("suffix", ["", "/status"])
def test_kustomize_serves_all_kinds(suffix: str) -> None:
    """Wherever the plain manifests name one kind of run, they name all."""
    text = (ROOT / "charts" / "kustomize" / "operator.yaml").read_text()
    wanted = [plural + suffix for plural in PLURALS]

    def lists(value: object) -> list[list[object]]:
        if isinstance(value, dict):
            return [one for inner in value.values() for one in lists(inner)]
        if isinstance(value, list):
            return [value, *(one for inner in value for one in lists(inner))]
        return []

    named = [
        one
        for body in yaml.safe_load_all(text)
        for one in lists(body)
        if set(wanted) & set(map(str, one))
    ]
    assert named
    assert all(one[: len(wanted)] == wanted for one in named)


def test_other_tools_that_sync_know_all_kinds() -> None:
    """Argo CD and Flux learn when a run of each kind is healthy."""
    folder = ROOT / "charts" / "gitops"
    argo = (folder / "argocd" / "kustomization.yaml").read_text()
    assert re.findall(r"autodidact\.dev_(\w+)=", argo) == list(BY_KIND)
    flux = yaml.safe_load((folder / "flux" / "health-checks.yaml").read_text())
    assert [one["kind"] for one in flux["healthCheckExprs"]] == list(BY_KIND)


def test_definitions_are_listed_for_kustomize() -> None:
    """The list of definitions has that of every kind."""
    listed = yaml.safe_load((ROOT / "crds" / "kustomization.yaml").read_text())["resources"]
    assert {f"{plural}.yaml" for plural in PLURALS} <= set(listed)
