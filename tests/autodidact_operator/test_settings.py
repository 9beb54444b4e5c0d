from pathlib import Path

import pytest

from autodidact_operator.__main__ import main
from autodidact_operator.errors import ConfigError
from autodidact_operator.settings import Settings

LEAST = {"AUTODIDACT_STORE": "s3://bucket"}


def test_one_variable_is_enough() -> None:
    """Everything but the store has a default."""
    settings = Settings.from_environment(LEAST)
    assert (settings.store, settings.port, settings.leader_election) == ("s3://bucket", 8080, True)


def test_variables_are_read_in_their_own_forms() -> None:
    """Lists, switches, numbers and directories are understood; an empty variable is absent."""
    settings = Settings.from_environment(
        {
            **LEAST,
            "AUTODIDACT_WATCH_NAMESPACES": "a, b,",
            "AUTODIDACT_IMPORT_PREFIXES": '["s3://inputs/{namespace}/"]',
            "AUTODIDACT_LEADER_ELECTION": "false",
            "AUTODIDACT_STATUS_SECONDS": "0.5",
            "AUTODIDACT_STORE_CREDENTIALS": "/run/secrets",
            "AUTODIDACT_WORKERS": "",
        }
    )
    assert settings.watch_namespaces == ("a", "b")
    assert settings.import_prefixes == ("s3://inputs/{namespace}/",)
    assert settings.leader_election is False
    assert (settings.status_seconds, settings.workers) == (0.5, 32)
    assert settings.store_credentials == Path("/run/secrets")


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "http://minio"), ({"AUTODIDACT_WORKER_ENDPOINT": "http://x"}, "http://x")],
)
def test_workers_reach_the_store_where_the_operator_does(
    own: dict[str, str], expected: str
) -> None:
    """The workers' endpoint is the operator's unless it is given."""
    settings = Settings.from_environment({**LEAST, "AWS_ENDPOINT_URL": "http://minio", **own})
    assert settings.worker_endpoint == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTODIDACT_STORE", ""),
        ("AUTODIDACT_WORKERS", "0"),
        ("AUTODIDACT_PORT", "http"),
        ("AUTODIDACT_IMPORT_PREFIXES", "s3://x"),
        ("AUTODIDACT_RESYNC_SECONDS", "never"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    """The error names the variable, as the administrator knows it."""
    with pytest.raises(ConfigError, match=f"^{variable}: "):
        Settings.from_environment({**LEAST, variable: value})


def test_help_describes_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """Its name, what it is for, and its default; nothing is operated."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: line[1] for line in lines if len(line) == 2}
    assert told["AUTODIDACT_STORE"].endswith("(required)")
    assert told["AUTODIDACT_PORT"].endswith("(default: 8080)")
    assert told["AWS_REGION"] == "Region of the bucket. (default: us-east-1)"
    assert told["AUTODIDACT_POD_IP"] == "Address on which other replicas reach this one."
    assert "None" not in "".join(told.values())
