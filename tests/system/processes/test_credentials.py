"""Jobs are lent credentials of their own, and no secret is to be seen anywhere."""

import base64
import io
import json
import secrets
import subprocess
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from autodidact_contract.base import GROUP, VERSION
from autodidact_operator.runs.jobs import SECRET_TYPE
from autodidact_worker.toys import copying
from support import canaries, manifests
from support.completion_servers import scripted
from support.deployed import ACCOUNT, House, Place, changed, message
from support.faulty_proxy import FaultyProxy
from support.rights import asked
from tools.cluster.waiting import eventually
from tools.installation import SECRET


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


@dataclass
class Secrets:
    """What nobody may see, as far as it has come up.

    Attributes:
        lent: Secret values of the credentials of each Job, by its name.
        keys: Their access keys, which are no secret.
        tokens: With which pods report progress.
    """

    lent: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def look(self, place: Place) -> None:
        """Notes what Jobs are lent now, and the tokens in their pods."""
        for item in json.loads(place.kubectl("get", "secrets", "-o", "json"))["items"]:
            if item["type"] == SECRET_TYPE:
                job = item["metadata"]["name"]
                data = {n: base64.b64decode(text).decode() for n, text in item["data"].items()}
                self.lent.setdefault(job, set()).update((data["secretKey"], data["sessionToken"]))
                self.keys.setdefault(job, set()).add(data["accessKey"])
        with suppress(FileNotFoundError):  # Pods go while one looks.
            for file in place.house.node.directory.rglob("token"):
                self.tokens.add(file.read_text())

    def until_ended(self, place: Place, name: str) -> dict[str, Any]:
        """Returns the final status of a run; all the while it looks for secrets."""

        def ended(status: dict[str, Any]) -> bool:
            self.look(place)
            return status["phase"] in ("Succeeded", "Failed")

        return place.until(name, ended, 400)


def private_rows(house: House, place: Place) -> dict[str, str]:
    """Puts rows where only a Secret of the namespace opens them; returns the source."""
    minio, bucket = house.installed.minio(), f"private-{place.namespace}"
    minio.make_bucket(bucket)
    data = "\n".join(row.model_dump_json(by_alias=True) for row in copying.instructions(0)).encode()
    minio.put_object(bucket, "rows.jsonl", io.BytesIO(data), len(data))
    house.installed.give_store(place.namespace)
    return {"uri": f"s3://{bucket}/rows.jsonl", "secretName": SECRET}


def asking(house: House, place: Place, url: str, key: str) -> dict[str, str]:
    """Makes a ComputeProfile of an engine behind a server with a key; returns where it samples."""
    place.kubectl("create", "secret", "generic", "engine", f"--from-literal=apiKey={key}")
    name = f"{place.namespace}-engine"
    default = house.installed.values["computeProfiles"]["default"]
    engine = {"engine": "openai", "engineUrl": url, "engineSecretName": "engine"}
    house.cluster.apply(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ComputeProfile",
            "metadata": {"name": name},
            "spec": {**default, **engine},
        }
    )
    return {"generate": name, "train": "default", "default": "default"}


def test_no_secret_is_to_be_seen(house: House, place: Place) -> None:
    """Not in what a run leaves that Succeeds, nor in that of one that is shown a key in an error."""
    key = f"canary-{secrets.token_hex(16)}"
    found = Secrets()
    source = private_rows(house, place)
    good = place.apply(manifests.tiny(place.namespace, "good", data={"instructions": source}))
    assert found.until_ended(place, good)["phase"] == "Succeeded"
    with scripted("base") as server:
        server.models = 401, {"error": f"who is {key}?"}
        bad = manifests.tiny(
            place.namespace,
            "bad",
            backoffLimit=0,
            data={"instructions": source},
            prompts={"perIteration": 17},
            compute=asking(house, place, server.url, key),
        )
        status = found.until_ended(place, place.apply(bad))
        assert any(key in headers.get("Authorization", "") for headers in server.headers)
    assert status["phase"] == "Failed"
    assert "who is" in message(status)
    planted = {key, house.cluster.minio.secret_key, house.node.settings.environment["NODE_CANARY"]}
    shown = canaries.on_the_api(house.cluster, place.namespace)
    shown |= canaries.in_the_store(house.installed.minio(), place.namespace)
    with urllib.request.urlopen(f"http://127.0.0.1:{house.installed.port}/metrics") as answer:
        shown["metrics"] = answer.read()
    assert len(shown) > 40
    assert len(found.lent) > 5
    assert found.tokens
    assert not canaries.leaks(shown, planted.union(found.tokens, *found.lent.values()))


def test_a_stage_outlives_its_first_credentials(house: House, place: Place) -> None:
    """Where credentials end after seconds, a long stage goes on with those that it is lent anew."""
    found = Secrets()
    with FaultyProxy(house.cluster.minio.endpoint) as proxy:
        proxy.key_lifetime_s = 20
        store = {**house.installed.values["store"], "workerEndpoint": f"http://{proxy.endpoint}"}
        with changed(house.installed, store=store):
            name = place.apply(manifests.tiny(place.namespace, warmUp={"epochs": 8}))
            status = found.until_ended(place, name)
    assert status["phase"] == "Succeeded", status["conditions"]
    assert not proxy.refused
    (training,) = (job for job in found.keys if "train-sft" in job)
    used = [(at, key) for at, key in proxy.signed if key in found.keys[training]]
    (began, first), (ended, last) = used[0], used[-1]
    assert first != last
    assert ended - began > proxy.key_lifetime_s
