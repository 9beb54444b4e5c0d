"""Runs that start from a model of another run."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import manifests
from support.deployed import Place, message, why
from support.scripted_stages import Figures
from tools.paths import AUTODIDACT

PARENT = "parent"


def child(place: Place, name: str, iteration: int = 0, **spec: Any) -> str:
    """Applies a fork of the parent and returns its name."""
    origin = {"run": PARENT, "iteration": iteration}
    return place.apply(manifests.scripted(place.namespace, name, **{"from": origin, **spec}))


def stages(place: Place, name: str) -> set[str]:
    """The stages whose work a run's Jobs did."""
    prefix = f"{name}-"
    uid = place.uid(name)
    return {
        job.removeprefix(prefix).split("-", 1)[1].rsplit("-", 1)[0]
        for job in place.created_jobs(uid)
    }


@pytest.fixture(scope="module")
def parent(shared_place: Place) -> Place:
    """A namespace with a run that has Succeeded: M1 and M2."""
    place = shared_place
    place.apply(manifests.scripted(place.namespace, PARENT))
    assert place.until_ended(PARENT)["phase"] == "Succeeded"
    return place


@pytest.mark.parametrize("beta", [0.05, 0.2, 0.5])
def test_settings_are_tried_from_one_model(parent: Place, beta: float) -> None:
    """Only DPO, its evaluation and the report are done again, and the status names the origin."""
    name = child(parent, f"beta-{str(beta).replace('.', '')}", dpo={"beta": beta})
    status = parent.until_ended(name)
    assert status["phase"] == "Succeeded", message(status)
    first, second = parent.status(PARENT)["history"]
    assert status["origin"] == first["model"]
    assert [line["iteration"] for line in status["history"]] == [0, 1]
    assert status["history"][1]["model"] not in (first["model"], second["model"])
    done = stages(parent, name)
    assert {"train-dpo-1", "evaluate-1", "report"} <= done
    assert done <= {"import", "train-dpo-1", "evaluate-1", "report"}
    record = parent.record(parent.uid(name))
    ours, theirs = (
        {k: v["digest"] for k, v in each["artifacts"].items()}
        for each in (record, parent.record(parent.uid(PARENT)))
    )
    assert ours["import-origin"] == theirs["train-sft"]
    assert ours["build-pairs-1"] == theirs["build-pairs-1"]


def test_a_later_model_is_a_start_as_well(parent: Place) -> None:
    """From M2: no warm-up, and everything after the model is new."""
    name = child(parent, "of-second", iteration=1)
    status = parent.until_ended(name)
    assert status["phase"] == "Succeeded", message(status)
    assert status["origin"] == parent.status(PARENT)["history"][1]["model"]
    assert "train-sft" not in stages(parent, name)
    assert {"sample-1", "build-pairs-1", "train-dpo-1"} <= stages(parent, name)


def test_an_iteration_that_there_is_none_of_is_refused(parent: Place) -> None:
    """The sentence says which models the run has."""
    name = child(parent, "beyond", iteration=7)
    status = parent.until_ended(name)
    assert (status["phase"], why(status)) == ("Failed", "OriginHasNoModel")
    assert "it has those of: 0, 1" in message(status)
    assert not parent.created_jobs(parent.uid(name))


def test_a_run_of_another_kind_is_no_origin(parent: Place) -> None:
    """A ReFTRun of that name does not count; what is wanted may come, so the run waits a while."""
    other = "reft-parent"
    parent.apply(manifests.scripted_reft(parent.namespace, other))
    origin = {"run": other, "iteration": 0}
    spec = {"from": origin, "startDeadlineSeconds": 2}
    name = parent.apply(manifests.scripted(parent.namespace, "of-reft", **spec))
    status = parent.until_ended(name)
    assert (status["phase"], why(status)) == ("Failed", "OriginNotFound")
    assert f"{other}, which is not in this namespace" in message(status)


def test_another_namespace_cannot_be_named(parent: Place) -> None:
    """Neither by a field of its own nor within the name."""
    for origin in (
        {"run": PARENT, "iteration": 0, "namespace": "default"},
        {"run": f"default/{PARENT}", "iteration": 0},
    ):
        body = manifests.scripted(parent.namespace, "elsewhere", **{"from": origin})
        assert "from" in parent.refusal(body, "--server-side", "--validate=strict")


def test_a_model_that_is_not_there_yet_is_waited_for(place: Place) -> None:
    """First there is no parent, then it is at work, then the fork begins; no deadline counts."""
    name = child(place, "early", startDeadlineSeconds=600)
    assert PARENT in place.until_says(name, "OriginNotFound")
    told: list[str] = []
    script = place.script(PARENT)
    script.before["train-sft", 1] = lambda: told.append(place.until_says(name, "OriginNotReady"))
    place.apply(manifests.scripted(place.namespace, PARENT))
    place.until_ended(PARENT)
    assert "has no model of iteration 0 yet" in told[0]
    status = place.until_ended(name)
    assert status["phase"] == "Succeeded", message(status)
    assert status["origin"] == place.status(PARENT)["history"][0]["model"]


def test_runs_that_wait_for_each_other_are_refused(place: Place) -> None:
    """Nobody would ever make the model: one of the two is told so, and the other one of that."""
    for name, other in (("hen", "egg"), ("egg", "hen")):
        origin = {"from": {"run": other, "iteration": 0}}
        place.apply(manifests.scripted(place.namespace, name, **origin))
    found = {why(place.until_ended(name)) for name in ("hen", "egg")}
    assert "OriginIsItself" in found
    assert found <= {"OriginIsItself", "OriginHasNoModel"}


def test_a_failed_iteration_is_no_origin(place: Place) -> None:
    """A parent that failed before its DPO has M1 and no M2; its M1 is good."""
    place.script(PARENT).figures["build-pairs"] = Figures(counts={"pairs": 0})
    place.apply(manifests.scripted(place.namespace, PARENT))
    assert place.until_ended(PARENT)["phase"] == "Failed"
    status = place.until_ended(child(place, "of-failed", iteration=1))
    assert (status["phase"], why(status)) == ("Failed", "OriginHasNoModel")
    assert "is Failed" in message(status)
    fork = place.until_ended(child(place, "of-good", iteration=0, seed=1))
    assert fork["phase"] == "Succeeded", message(fork)


def test_a_fork_outlives_its_parent(place: Place) -> None:
    """The parent is deleted while the fork trains: it goes on with the same model."""
    place.apply(manifests.scripted(place.namespace, PARENT))
    place.until_ended(PARENT)
    origin = place.status(PARENT)["history"][0]["model"]
    place.script("orphan").before["train-dpo-1", 1] = lambda: place.delete(PARENT)
    status = place.until_ended(child(place, "orphan", dpo={"beta": 0.3}))
    assert (status["phase"], status["origin"]) == ("Succeeded", origin)
    assert PARENT not in place.kubectl("get", "srr", "-o", "name")


@pytest.mark.thorough
def test_local_mode_forks_too(tmp_path: Path) -> None:
    """Of a real tiny run: no second warm-up, the same M1, another M2, and the report shows both."""

    def run(body: dict[str, Any]) -> str:
        file = tmp_path / f"{body['metadata']['name']}.yaml"
        file.write_text(yaml.safe_dump(body))
        done = subprocess.run(
            [str(AUTODIDACT), "run", str(file), "--store", str(tmp_path / "store")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def made() -> dict[str, str]:
        """Digest by stage kind and key."""
        found = (tmp_path / "store").glob("local/artifacts/*/*/manifest.json")
        return {path.parts[-3]: path.read_text() for path in found}

    def summary(names: set[str]) -> dict[str, Any]:
        """What the one report among these artifacts says."""
        [name] = [name for name in names if name.startswith("report-")]
        [path] = (tmp_path / "store" / "local" / "artifacts" / name).glob("*/*/summary.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    run(manifests.tiny("local", PARENT))
    before = set(made())
    origin = {"run": PARENT, "iteration": 0}
    run(manifests.tiny("local", "fork", **{"from": origin, "dpo": {"beta": 0.5}}))
    new = {name.rpartition("-")[0] for name in set(made()) - before}
    assert new == {"import", "compare-prompts", "train-dpo", "evaluate", "report"}
    [brought] = [
        json.loads(text)
        for name, text in made().items()
        if name not in before and name.startswith("import-")
    ]
    origin_of_m1 = brought["config"]["uri"].removeprefix("artifact://")
    assert origin_of_m1.startswith("train-sft-")
    parents, ours = summary(before), summary(set(made()) - before)
    first, second = ours["models"]
    assert (first["stage"], first["origin"]) == ("import-origin", origin_of_m1)
    assert first["digest"] == parents["models"][0]["digest"]
    assert second["digest"] not in ("", parents["models"][1]["digest"])
