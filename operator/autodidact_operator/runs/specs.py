"""Reads a run object: returns the planner's run, or says in a sentence why it can never work."""

import re
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from autodidact_contract.api.referee import Endpoint
from autodidact_contract.api.run import Source
from autodidact_contract.task import RunRef
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.recipes import Recipe
from autodidact_operator.plan.types import Run


class RefusedError(Exception):
    """A run that can never work as it is.

    Attributes:
        reason: One of ``plan.problems.TABLE``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def interpret(recipe: Recipe, body: Body, prefixes: tuple[str, ...]) -> Run:
    """Returns a run object as the planner's run.

    Raises:
        RefusedError: The spec is not valid, or names a location its namespace may not use.
    """
    metadata = body["metadata"]
    try:
        spec = recipe.spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        raise RefusedError("InvalidSpec", sentence(error)) from error
    ref = RunRef(
        kind=recipe.kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
    )
    for source in sources(spec):
        _check_location(source, ref.namespace, prefixes)
    return Run(
        ref=ref,
        spec=spec,
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
    )


def sentence(error: ValidationError) -> str:
    """Returns what is wrong with a spec in one line, with the path of each field."""
    parts = [
        f"{'.'.join(('spec', *map(str, item['loc'])))}: {item['msg']}" for item in error.errors()
    ]
    return "; ".join(parts)


def sources(spec: Any) -> list[Source | Endpoint]:
    """Returns every input and every server that a spec names."""
    if isinstance(spec, Source | Endpoint):
        return [spec]
    fields = getattr(type(spec), "model_fields", {})
    return [source for name in fields for source in sources(getattr(spec, name))]


def _check_location(source: Source | Endpoint, namespace: str, prefixes: tuple[str, ...]) -> None:
    """Refuses a location that neither the administrator nor a Secret of the namespace allows.

    Workers would read it with their own credentials. So prefixes are compared as plain text, and
    a location must have neither dots that lead upwards nor escapes.

    Raises:
        RefusedError: It is not allowed.
    """
    uri = source.uri
    if re.search(r"(^|/)\.\.?(/|$)|%|\\", uri.partition("://")[2]):
        raise RefusedError("LocationNotAllowed", f"{uri}: a location has no '..', '%' or '\\'")
    if uri.startswith("file://"):
        raise RefusedError(
            "LocationNotAllowed", f"{uri}: file:// is for local mode; upload the data to S3"
        )
    if source.secret_name:
        return
    opened = [prefix.replace("{namespace}", namespace) for prefix in prefixes]
    if not any(_opens(prefix, uri) for prefix in opened):
        raise RefusedError(
            "LocationNotAllowed",
            f"{uri}: namespace {namespace} may import from {', '.join(opened) or 'nowhere'}; for "
            "any other location name a Secret of the namespace in secretName",
        )


def _opens(prefix: str, uri: str) -> bool:
    """Returns whether a location begins with a prefix; a prefix never ends within a server's name."""
    if uri.startswith(("https://", "http://")):
        return f"{uri}/".startswith(f"{prefix.rstrip('/')}/")
    return uri.startswith(prefix)
