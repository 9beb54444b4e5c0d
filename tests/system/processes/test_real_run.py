"""Tiny runs on real workers, on the cluster and on this machine."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import manifests
from support.deployed import House, Place, conditions, digests
from tools.cluster.waiting import eventually
from tools.installation import BUCKET
from tools.paths import AUTODIDACT

pytestmark = pytest.mark.thorough

API = "autodidact.dev/v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Done:
    """A tiny run that has Succeeded, and what was seen of it.

    Attributes:
        body: The object as it was at its end.
        shown: Stages and their progress, as the status had them on the way.
        made: Digests by stage.
    """

    place: Place
    body: dict[str, Any]
    shown: set[str]
    made: dict[str, str]
    jobs: list[dict[str, Any]]
    created: dict[str, int]
    reasons: set[str]

    @property
    def name(self) -> str:
        """The run's."""
        return str(self.body["metadata"]["name"])


@pytest.fixture(scope="module")
def done(house: House, shared_place: Place) -> Done:
    """A tiny run on real workers whose operator was killed while the model was trained."""
    name = shared_place.apply(manifests.tiny(shared_place.namespace))
    shown: set[str] = set()
    killed = False

    def ended(status: dict[str, object]) -> bool:
        nonlocal killed
        if status.get("progress"):
            shown.add(f"{status['stage']} {status['progress']}")
        if not killed and str(status["stage"]).startswith("train-sft") and status.get("progress"):
            killed = True
            house.kill_operator()
        return status["phase"] in ("Succeeded", "Failed")

    status = shared_place.until(name, ended, 240)
    assert status["phase"] == "Succeeded", status["conditions"]
    assert killed
    eventually(lambda: "Completed" in {e["reason"] for e in shared_place.events(name)})
    body = shared_place.run(name)
    uid = body["metadata"]["uid"]
    return Done(
        place=shared_place,
        body=body,
        shown=shown,
        made=digests(shared_place.record(uid)),
        jobs=shared_place.jobs(name),
        created=dict(shared_place.created_jobs(uid)),
        reasons={event["reason"] for event in shared_place.events(name)},
    )


def test_a_run_succeeds_and_says_so(done: Done) -> None:
    """Conditions, generation, history and report are there; kubectl wait returns."""
    status = done.body["status"]
    assert conditions(status)["Succeeded"] == conditions(status)["Ready"] == "True"
    assert status["observedGeneration"] == done.body["metadata"]["generation"] == 1
    assert [line["iteration"] for line in status["history"]] == [0, 1]
    assert status["history"][1]["pairs"] >= 1
    assert status["history"][1]["quality"] > 0
    assert status["score"]
    assert "train-dpo-" in status["model"]
    assert "report-" in status["report"]
    done.place.kubectl("wait", "--for=condition=Succeeded", f"srr/{done.name}", "--timeout=20s")


def test_progress_was_shown(done: Done) -> None:
    """The status showed the share of a stage that was done."""
    assert done.shown


def test_a_killed_operator_repeats_nothing(done: Done) -> None:
    """The operator was killed in the middle of training; every Job was created once."""
    assert set(done.created.values()) == {1}
    assert len(done.created) == 8


def test_a_run_carries_nothing_of_the_operators(done: Done) -> None:
    """No finalizer and no annotation but kubectl's own; its Jobs are owned by it."""
    metadata = done.body["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    for job in done.jobs:
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (metadata["uid"], True)


def test_events_tell_the_story(done: Done) -> None:
    """Kubectl describe shows that stages were done and that the run was."""
    assert {"StageDone", "Completed"} <= done.reasons


def test_local_mode_makes_the_same(house: House, done: Done, tmp_path: Path) -> None:
    """The same manifest without Kubernetes: interrupted, taken up again, the same artifacts."""
    where = f"{done.place.namespace}-local"
    file = tmp_path / "run.yaml"
    body = manifests.tiny(where, done.name)
    file.write_text(yaml.safe_dump(body))
    command = [str(AUTODIDACT), "run", str(file), "--store", f"s3://{BUCKET}"]
    environment = {**os.environ, **house.installed.store_environment()}
    lines = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        assert first.stdout is not None
        for line in first.stdout:
            lines.append(line)
            if "train-sft" in line and "%" in line:
                first.send_signal(signal.SIGINT)
                break
        lines += first.stdout.readlines()
        assert first.wait(60) == 130, "".join(lines)
    assert "was interrupted; give the same command again to go on" in lines[-1]
    second = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert "import" not in second.stdout  # Adopted.
    assert "Succeeded: all iterations are done" in second.stdout
    assert "\x1b" not in second.stdout
    minio = house.installed.minio()
    (record,) = minio.list_objects(BUCKET, prefix=f"{where}/runs/", recursive=True)
    answer = minio.get_object(BUCKET, str(record.object_name))
    assert digests(json.loads(answer.read())) == done.made
    answer.release_conn()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds 0 runs"),
        ("kind: [", "is not YAML"),
        ("kind: SelfRewardRun\napiVersion: v1\n", f"apiVersion must be {API}"),
        (
            f"kind: SelfRewardRun\napiVersion: {API}\nmetadata: {{name: a}}\nspec: {{seed: x}}\n",
            "spec.seed",
        ),
    ],
)
def test_local_mode_refuses_a_bad_file(tmp_path: Path, text: str, words: str) -> None:
    """Exit code 2 and a sentence, no traceback."""
    file = tmp_path / "run.yaml"
    file.write_text(text)
    command = [str(AUTODIDACT), "run", str(file), "--store", str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_local_mode_needs_no_server(tmp_path: Path) -> None:
    """With a directory as store a run fails on bad data as on a cluster, and says so."""
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "a"}\n')
    body = manifests.tiny("local", data={"instructions": {"uri": f"file://{data}"}})
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(body))
    command = [str(AUTODIDACT), "run", str(file), "--store", str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "InvalidData" in ended.stderr
    assert "response" in ended.stderr
    assert list((tmp_path / "store" / "local" / "artifacts").glob("import-*"))


@pytest.mark.usefixtures("collector")
def test_a_deleted_run_takes_its_jobs_along_and_comes_back(done: Done) -> None:
    """Deleted and applied again, the run adopts every artifact: no Job, the same digests."""
    place = done.place
    place.delete(done.name)
    eventually(lambda: not place.jobs(done.name))
    place.apply(manifests.tiny(place.namespace))
    assert place.until_ended(done.name)["phase"] == "Succeeded"
    uid = place.run(done.name)["metadata"]["uid"]
    assert uid != done.body["metadata"]["uid"]
    assert not place.created_jobs(uid)
    assert digests(place.record(uid)) == done.made
