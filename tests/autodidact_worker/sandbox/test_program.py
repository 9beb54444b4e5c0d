"""The hostile corpus, in each kind of sandbox that a machine may allow."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

import autodidact_contract
import autodidact_worker
from support import hostile
from tools.paths import TESTS

pytestmark = pytest.mark.training

POD_UID = 10001


def _paths() -> list[str]:
    """Returns the import path for an interpreter that knows nothing of this environment."""
    packages = (autodidact_contract, autodidact_worker, psutil)
    found = [Path(next(iter(package.__path__))).parent for package in packages]
    return [str(path) for path in (*found, TESTS)]


def _interpreter(identity: dict[str, Any], environment: dict[str, str]) -> str:
    """Returns an interpreter that this user can start and that finds what the scene needs."""
    for path in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        check = [path, "-c", "import sys, psutil, sympy; sys.exit(sys.version_info < (3, 11))"]
        try:
            if not subprocess.run(check, env=environment, **identity, check=False).returncode:
                return path
        except OSError:
            continue
    pytest.skip("no Python here that another user can run")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("own", "quick", ()), id="all-layers"),
        pytest.param(("own", "quick", ("landlock",)), id="no-landlock"),
        # Whole where it is weakest: another user than root, without namespaces.
        pytest.param(("pod", "all", ("namespaces",)), id="as-in-a-pod"),
    ],
)
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What there was to see when the corpus ran, in a process that plays the worker.

    Whoever is not root already is what a pod's user is.
    """
    user, part, without = request.param
    if os.geteuid():
        user = "own"
    identity = {"user": POD_UID, "group": POD_UID, "extra_groups": ()} if user == "pod" else {}
    with tempfile.TemporaryDirectory(prefix="autodidact-hostile-") as name:
        if identity:
            os.chown(name, POD_UID, POD_UID)
        environment = {"PATH": os.environ["PATH"], "HOME": name, "PYTHONPATH": ":".join(_paths())}
        identity["cwd"] = name
        command = [
            _interpreter(identity, environment),
            "-m",
            hostile.__name__,
            name,
            part,
            *without,
        ]
        ran = subprocess.run(
            command, env=environment, **identity, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    if "namespaces" not in without and "namespaces" in found["layers"]["missing"]:
        pytest.skip(f"no namespaces here: {found['layers']['missing']['namespaces']}")
    found["expected"] = [program.name for program in hostile.chosen(part)]
    return found


def test_the_corpus_is_large_and_no_program_is_there_twice() -> None:
    """There are at least 200 programs written by hand, under names and with texts of their own."""
    programs = hostile.corpus()
    assert len({program.name for program in programs}) == len(programs)
    assert len({program.source for program in programs}) == len(programs)
    assert sum(not program.name.startswith("call:") for program in programs) >= 200


def test_every_program_ends_as_it_should(seen: dict[str, Any]) -> None:
    """No program gets what it wants, and each one's end is told for what it is."""
    wrong = [
        program
        for program in seen["programs"]
        if program["status"] not in program["statuses"] or "ESCAPED" in program["value"]
    ]
    assert wrong == []
    assert [program["name"] for program in seen["programs"]] == seen["expected"]


def test_no_secret_is_in_an_answer(seen: dict[str, Any]) -> None:
    """Neither gold answers, nor a token, nor the worker's environment reach a program."""
    assert [p["name"] for p in seen["programs"] if seen["secret"] in p["value"]] == []


def test_the_next_program_runs(seen: dict[str, Any]) -> None:
    """After each hostile program an honest one has its answer."""
    answers = [(ran["status"], ran["kind"], ran["value"]) for ran in seen["honest"]]
    assert answers == [("ok", "int", "42")] * len(seen["expected"])


def test_nobody_outside_notices(seen: dict[str, Any]) -> None:
    """No listener hears anything, no process is hurt and no file outside changes or appears."""
    assert seen["heard"] == []
    assert seen["sentinel"] is None
    assert seen["changed"] == []
    assert seen["marked"] == []


def test_nothing_is_left(seen: dict[str, Any]) -> None:
    """Neither a process nor a file of the sandbox's remains."""
    assert seen["processes"] == []
    assert seen["left"] == []
