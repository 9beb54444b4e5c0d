"""The operator's settings, read once from the environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from autodidact_contract.base import Schema
from autodidact_contract.environment import PREFIX
from autodidact_operator.errors import ConfigError


class Settings(Schema):
    """What an administrator decides; the chart writes it as environment variables.

    The variable of a field is its name in capitals after `AUTODIDACT_`, except for the two that
    every S3 client knows, `AWS_ENDPOINT_URL` and `AWS_REGION`.
    """

    namespace: str = Field("default", description="Where the operator itself runs.")
    pod_name: str = Field("autodidact", description="Name of the operator's pod.")
    pod_ip: str = Field("", description="Address on which other replicas reach this one.")
    watch_namespaces: tuple[str, ...] = Field((), description="Namespaces to serve; empty = all.")
    store: str = Field(description="Where artifacts lie: s3://bucket or a directory.")
    store_credentials: Path | None = Field(None, description="Directory with the store's keys.")
    aws_endpoint_url: str = Field("", description="S3 endpoint as the operator reaches it.")
    aws_endpoint_url_sts: str = Field("", description="STS endpoint; empty = the S3 endpoint.")
    aws_region: str = Field("us-east-1", description="Region of the bucket.")
    worker_store_secret: str = Field("", description="Secret with keys, in the run's namespace.")
    sts_enabled: bool = Field(False, description="Each Job gets narrow credentials by STS.")
    sts_role_arn: str = Field("", description="Role to assume; AWS wants one, MinIO does not.")
    sts_duration_seconds: int = Field(3600, ge=900, le=43200, description="Of a Job's credentials.")
    sts_renew_seconds: int = Field(1800, ge=1, description="Age at which they are renewed.")
    worker_endpoint: str = Field("", description="S3 endpoint as workers reach it.")
    worker_image: str = Field("", description="Image of stages without one in their profile.")
    worker_pull_secrets: tuple[str, ...] = Field(
        (), description="Secrets in each run's namespace for pulling the images of stages."
    )
    progress_url: str = Field("", description="Where workers report progress; empty = nowhere.")
    progress_audience: str = Field(
        "autodidact.dev/progress", min_length=1, description="Audience of the workers' tokens."
    )
    import_prefixes: tuple[str, ...] = Field(
        (), description="Allowed URIs, with {namespace}; a JSON list."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of health, metrics and progress.")
    leader_election: bool = Field(True, description="Of several replicas one operates.")
    lease_name: str = Field("autodidact-operator", min_length=1, description="Lease they hold.")
    resync_seconds: float = Field(300, gt=0, description="Seconds between full LISTs.")
    workers: int = Field(32, ge=1, le=256, description="Runs reconciled at the same time.")
    status_seconds: float = Field(2, gt=0, description="Least time between progress updates.")

    @field_validator("watch_namespaces", "worker_pull_secrets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("import_prefixes", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not a JSON list: {error}") from error

    @model_validator(mode="after")
    def _check_sts(self) -> Self:
        if self.sts_enabled and not self.store.startswith("s3://"):
            raise ValueError(f"{variable('sts_enabled')}: {self.store} is not an S3 store")
        if self.sts_renew_seconds >= self.sts_duration_seconds:
            raise ValueError(
                f"{variable('sts_renew_seconds')} must be less than {variable('sts_duration_seconds')}"
            )
        return self

    @classmethod
    def described(cls) -> str:
        """Returns a line for each variable: what it is for, and its default if it has one."""
        variables = _variables(cls)
        width = max(map(len, variables.values()))
        lines = []
        for name, field in cls.model_fields.items():
            line = f"  {variables[name]:<{width}}  {field.description}"
            if field.is_required():
                line += " (required)"
            elif field.default not in ((), "", None):
                line += f" (default: {field.default})"
            lines.append(line)
        return "\n".join(lines)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Returns the settings of an environment; an empty variable counts as absent.

        Raises:
            ConfigError: If a variable is missing or malformed; the message names each.
        """
        given = {
            name: environment[variable]
            for name, variable in _variables(cls).items()
            if environment.get(variable)
        }
        given.setdefault("worker_endpoint", given.get("aws_endpoint_url", ""))
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(_sentence(error, _variables(cls))) from error


def variable(field: str) -> str:
    """Returns the environment variable of a field of the settings."""
    return field.upper() if field.startswith("aws_") else PREFIX + field.upper()


def _variables(model: type[Schema]) -> dict[str, str]:
    """Returns the environment variable of each field."""
    return {name: variable(name) for name in model.model_fields}


def _sentence(error: ValidationError, variables: Mapping[str, str]) -> str:
    """Returns all complaints in one line, each with its variable."""
    by_alias = {name.replace("_", ""): variable for name, variable in variables.items()}
    parts = []
    for item in error.errors():
        name = str(item["loc"][0]).replace("_", "").lower() if item["loc"] else ""
        parts.append(f"{by_alias.get(name, name)}: {item['msg']}")
    return "; ".join(parts)
