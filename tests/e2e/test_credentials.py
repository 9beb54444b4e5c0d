"""Jobs are lent credentials of their own, and no secret is to be seen anywhere."""

import base64
import json
import subprocess
import urllib.request
from typing import Any

import pytest

from cluster.waiting import eventually
from e2e import manifests
from e2e.house import ACCOUNT, House, Place
from e2e.rights import asked
from installation import BUCKET, DEPLOYMENT, SYSTEM


def secret_of(place: Place, job: str) -> dict[str, Any]:
    """Returns the Secret of a Job, empty while there is none."""
    text = place.kubectl("get", "secret", job, "--ignore-not-found", "-o", "json")
    return dict(json.loads(text)) if text.strip() else {}


@pytest.mark.usefixtures("collector")
def test_secrets_are_written_again_and_go_with_their_job(house: House, place: Place) -> None:
    """A Job's Secret is renewed, comes back although its operator died, and goes with the Job."""
    name = place.apply(manifests.scripted(place.namespace))
    place.script(name).delays["train-sft"] = 600
    eventually(lambda: ("train-sft", 1) in place.script(name).seen)
    job = next(j for j in place.active_jobs(name) if "train-sft" in j)
    first = eventually(lambda: secret_of(place, job))
    assert first is not None
    (owner,) = first["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Job", job)
    eventually(lambda: secret_of(place, job)["data"] != first["data"], 30)
    # As if the operator had died between the Job and its Secret.
    place.kubectl("delete", "secret", job)
    house.kill_operator()
    eventually(lambda: secret_of(place, job), 60)
    place.edit(name, cancel=True)
    place.until_ended(name)
    eventually(lambda: not secret_of(place, job), 60)
    secrets = {what[0] for what in asked(house.cluster, "allow") if what[2] == "secrets"}
    assert secrets <= {"create", "patch"}


def test_the_operator_cannot_touch_other_secrets(house: House, place: Place) -> None:
    """A patch, whose answer would show a foreign Secret, is denied by the admission policy."""
    place.kubectl("create", "secret", "generic", "foreign", "--from-literal=token=canary-foreign")
    done = subprocess.run(
        [
            *(house.cluster.tool("kubectl"), "-n", place.namespace, f"--as={ACCOUNT}"),
            *("apply", "--server-side", "-f", "-", "-o", "json"),
        ],
        # Nothing but what is there, so that the answer alone would be worth it.
        input=json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "foreign"},
                "type": "Opaque",
            }
        ),
        env=house.cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "writes no Secrets but" in done.stderr
    assert "canary" not in done.stdout


def test_a_real_run_is_lent_enough_and_shows_no_secret(house: House, place: Place) -> None:
    """Every stage of a real run works on what it is lent; no secret is in anything it leaves."""
    canary = "canary-5f1d0c7e9b"
    place.kubectl("create", "secret", "generic", "canary", f"--from-literal=token={canary}")
    name = place.apply(manifests.tiny(place.namespace))
    lent: dict[str, set[str]] = {}

    def ended(status: dict[str, Any]) -> bool:
        found = json.loads(place.kubectl("get", "secrets", "-o", "json"))["items"]
        for item in found:
            if item["type"] == "autodidact.dev/store-credentials":
                texts = (item["data"][key] for key in ("secretKey", "sessionToken"))
                lent.setdefault(item["metadata"]["name"], set()).update(texts)
        return status["phase"] in ("Succeeded", "Failed")

    status = place.until(name, ended, 400)
    assert status["phase"] == "Succeeded", status["conditions"]
    assert any(len(texts) > 2 for texts in lent.values()), "no Job met a renewal"
    store = house.cluster.minio
    needles = {canary, store.secret_key}
    needles |= {base64.b64decode(text).decode() for texts in lent.values() for text in texts}
    port = house.installed.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        shown = {"metrics": answer.read()}
    for kind in ("srr", "jobs", "pods", "events"):
        shown[kind] = place.kubectl("get", kind, "-o", "yaml").encode()
    for pod in json.loads(place.kubectl("get", "pods", "-o", "json"))["items"]:
        pod_name = pod["metadata"]["name"]
        shown[f"log of {pod_name}"] = place.kubectl("logs", pod_name).encode()
    operator = ("logs", "-n", SYSTEM, f"deploy/{DEPLOYMENT}")
    shown["log of the operator"] = house.cluster.kubectl(*operator).encode()
    minio = house.installed.minio()
    for item in minio.list_objects(BUCKET, prefix=f"{place.namespace}/", recursive=True):
        answer = minio.get_object(BUCKET, item.object_name)
        shown[item.object_name] = answer.read()
        answer.close()
    found = {where for where, data in shown.items() for n in needles if n.encode() in data}
    assert len(shown) > 30
    assert not found
