"""What GitOps tools make of runs, said by the tools' own libraries: see the Go program `gitops`."""

import json
import subprocess
from functools import cache
from typing import Any, get_args

import pytest
import yaml

from autodidact_contract.api.status import RunStatus
from support import every_phase
from tools.cluster import tools
from tools.paths import ROOT

GITOPS = ROOT / "charts" / "gitops"
KINDS = ("SelfRewardRun", "ReFTRun")
pytestmark = pytest.mark.cluster

WANTED = {
    "unseen": ("InProgress", "Progressing"),
    "edited": ("InProgress", "Progressing"),
    "hindered": ("InProgress", "Progressing"),
    "begun": ("InProgress", "Progressing"),
    "running": ("InProgress", "Progressing"),
    "warned": ("InProgress", "Progressing"),
    "suspended": ("InProgress", "Suspended"),
    "succeeded": ("Current", "Healthy"),
    "succeeded-warned": ("Current", "Healthy"),
    "failed": ("Failed", "Degraded"),
    "cancelled": ("Failed", "Degraded"),
}
"""By what a run is: what kstatus and Flux say, and what Argo CD says."""

PHASES = {
    "hindered": "Pending",
    "begun": "Running",
    "running": "Running",
    "warned": "Running",
    "suspended": "Suspended",
    "succeeded": "Succeeded",
    "succeeded-warned": "Succeeded",
    "failed": "Failed",
    "cancelled": "Failed",
}


def _expressions(kind: str) -> dict[str, str]:
    checks = yaml.safe_load((GITOPS / "flux" / "health-checks.yaml").read_text())
    [check] = [check for check in checks["healthCheckExprs"] if check["kind"] == kind]
    assert check["apiVersion"] == "autodidact.dev/v1alpha1"
    return {name: check[name] for name in ("inProgress", "failed", "current")}


@cache
def _verdicts(kind: str) -> dict[str, Any]:
    """Returns by what a run is: the verdict of each tool."""
    found = every_phase.of_kind(kind)
    given = {
        "objects": list(found.values()),
        "flux": _expressions(kind),
        "argo": (GITOPS / "argocd" / "health.lua").read_text(),
    }
    answer = subprocess.run(
        [tools.find("gitops")], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return dict(zip(found, json.loads(answer.stdout), strict=True))


CASES = [(kind, name) for kind in KINDS for name in every_phase.of_kind(kind)]


def test_every_phase_is_recorded() -> None:
    """The objects have every phase that a run's status can have, and the verdicts are for all."""
    for kind in KINDS:
        found = every_phase.of_kind(kind)
        for name in found.keys() & PHASES.keys():
            assert found[name]["status"]["phase"] == PHASES[name], name
        phases = get_args(RunStatus.model_fields["phase"].annotation)
        assert {body["status"]["phase"] for body in found.values()} == set(phases)
    assert {name for _, name in CASES} == WANTED.keys()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_kstatus_reads_runs_rightly(kind: str, name: str) -> None:
    """The library kstatus knows by itself whether a run is at work, done or failed."""
    assert _verdicts(kind)[name]["kstatus"] == WANTED[name][0]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_flux_agrees(kind: str, name: str) -> None:
    """Flux's evaluator gets the same from the expressions that are shipped."""
    assert _verdicts(kind)[name]["flux"] == WANTED[name][0]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_argo_cd_shows_the_health(kind: str, name: str) -> None:
    """The health script gives Argo CD a status that it knows, and a sentence."""
    verdict = _verdicts(kind)[name]
    assert verdict["argo"] == WANTED[name][1]
    assert verdict["message"]


def test_argo_cd_shows_reasons_and_warnings() -> None:
    """The sentence is that of the run's condition, with its warning if it has one."""
    found = _verdicts("ReFTRun")
    assert found["failed"]["message"] == "DataMissing: import: no rows"
    assert "warning: " in found["warned"]["message"]
    assert "warning: " in found["succeeded-warned"]["message"]


def test_the_table_of_the_readme_is_true() -> None:
    """The README says of each phase what the libraries say."""
    table = (GITOPS / "README.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| ")
    ]
    told = {phase: row[1:] for row in rows[1:] for phase in row[0].split(", ")}
    found = _verdicts("ReFTRun")
    for name, phase in {**PHASES, "unseen": "not seen by the operator yet"}.items():
        verdict = found[name]
        assert told[phase] == [verdict["kstatus"], verdict["flux"], verdict["argo"]], name
