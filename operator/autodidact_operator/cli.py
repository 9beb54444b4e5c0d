"""The command line: ``autodidact``, also installed as ``kubectl-autodidact``."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click
import yaml
from pydantic import ValidationError
from rich.console import Console

from autodidact_contract.base import GROUP, VERSION
from autodidact_contract.resources import RunSpec, RunStatus
from autodidact_operator import local
from autodidact_operator.recipes import BY_KIND, Recipe, graph_of
from autodidact_operator.specs import sentence
from autodidact_operator.view import results, view
from autodidact_store import StoreError, check, check_create, open_store

console = Console(stderr=False, highlight=False)
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
LOG_LINES = 20
UNKNOWN_ORIGIN = f"model-{32 * '0'}"
"""Stands for the model of another run where only the stages' names are asked for."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autodidact")
def main() -> None:
    """Language models that improve themselves, on a cluster or on this machine."""


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--store",
    "store_uri",
    required=True,
    metavar="DIR|s3://BUCKET",
    help="Where artifacts go. For S3, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY are read from the environment.",
)
@click.option("--namespace", "-n", help="Instead of the manifest's namespace, or default.")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Stages (and shards) at the same time.",
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the workers' logs here.",
)
def run(
    file: Path, store_uri: str, namespace: str | None, parallel: int, logs: Path | None
) -> None:
    """Run the run in FILE on this machine, without Kubernetes.

    The same stages, artifacts and decisions as on a cluster. An interrupted or failed run goes on
    where it was when the command is given again. Ctrl-C lets the stage save its state first; a
    second one kills it. AUTODIDACT_ENGINE=vllm, or openai with AUTODIDACT_ENGINE_URL, lets stages
    sample by another engine than transformers.
    """
    recipe, body, spec = _read_run(file)
    if "://" not in store_uri:
        folder = Path(store_uri).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        store_uri = f"file://{folder}"
    name = body["metadata"]["name"]
    where = namespace or body["metadata"].get("namespace", "default")
    try:
        store = open_store(store_uri)
        check(store)
        check_create(store)
    except StoreError as error:
        _fail(str(error), EXIT_USAGE)
    ref = local.run_ref(recipe.kind, where, name, body["spec"])
    with tempfile.TemporaryDirectory(prefix="autodidact-") as scratch, view(console, name) as show:
        at_work = local.LocalRun(
            recipe=recipe,
            ref=ref,
            spec=spec,
            body=body,
            store=store,
            environment=dict(os.environ),
            folder=Path(scratch),
            observer=show,
            parallel=parallel,
        )
        status = _drive(at_work, name, logs)
    _conclude(status, at_work, store.uri)


def _drive(at_work: local.LocalRun, name: str, logs: Path | None) -> RunStatus:
    """Runs to the end; keeps the logs that were asked for, whatever the end is."""
    try:
        return asyncio.run(at_work.run())
    except local.InterruptedRunError:
        console.print(f"{name} was interrupted; give the same command again to go on", style="bold")
        sys.exit(EXIT_INTERRUPTED)
    except StoreError as error:
        _fail(str(error), EXIT_FAILED)
    finally:
        if logs:
            for log in sorted(at_work.folder.glob("*/*/log")):
                target = logs / f"{log.parent.parent.name}-{log.parent.name}.log"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log, target)


def _conclude(status: RunStatus, at_work: local.LocalRun, store_uri: str) -> None:
    """Prints what came out, and ends with the run's exit code."""
    condition = status.conditions[0]
    if status.history:
        console.print(results(status.history))
    for title, folder in (("model", status.model), ("report", status.report)):
        if folder:
            file = "/report.html" if title == "report" else ""
            console.print(f"{title}: {store_uri}/{folder}{file}", soft_wrap=True)
    if status.phase == "Succeeded":
        console.print(f"Succeeded: {condition.message}", style="green")
        return
    if status.stage or status.jobs:
        failed = status.jobs[0].name if status.jobs else status.stage
        log = at_work.last_words(failed, LOG_LINES)
        if log:
            console.print(f"last lines of {failed}:\n{log}", markup=False)
    _fail(f"{condition.reason}: {condition.message}", EXIT_FAILED)


@main.command()
@click.argument("plural", required=False)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    help="Write <plural>.yaml into this folder instead of printing; may be given again.",
)
def crds(plural: str | None, output: tuple[Path, ...]) -> None:
    """Print the CustomResourceDefinitions, of all kinds or of PLURAL."""
    from autodidact_contract.crd import definitions  # noqa: PLC0415 - costs time nobody else pays

    for name, definition in definitions().items():
        if plural not in (None, name):
            continue
        text = yaml.safe_dump(definition, sort_keys=False, width=100)
        for folder in output:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.yaml").write_text(
                f"# Generated by `autodidact crds`; do not edit.\n{text}"
            )
        if not output:
            click.echo(f"---\n{text}", nl=False)


@main.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
def validate(files: tuple[Path, ...]) -> None:
    """Check the runs in FILES and print the stages each would go through."""
    for file in files:
        recipe, body, spec = _read_run(file)
        graph = graph_of(recipe, spec, "", UNKNOWN_ORIGIN)
        named = f"{file}: {recipe.kind} {body['metadata']['name']}"
        console.print(f"{named} is valid", style="green", soft_wrap=True)
        for job in dict.fromkeys(stage.job for stage in graph.stages):
            names = [stage.name for stage in graph.stages if stage.job == job]
            shards = next(stage.shards for stage in graph.stages if stage.job == job)
            pods = f" ({shards} pods)" if shards > 1 else ""
            console.print(f"  {job}{pods}: {', '.join(names)}", soft_wrap=True)


@main.command()
@click.argument("folder")
@click.option("--store", "store_uri", required=True, metavar="DIR|s3://BUCKET")
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files go.",
)
def fetch(folder: str, store_uri: str, output: Path) -> None:
    """Download what a run's status names as model or report, verified.

    FOLDER is status.model or status.report, as kubectl shows them.
    """
    from autodidact_store.artifacts import fetch as download  # noqa: PLC0415 - as above
    from autodidact_store.artifacts import find  # noqa: PLC0415 - as above

    namespace, _, rest = folder.strip("/").partition("/artifacts/")
    kind, _, key = rest.partition("/")[0].rpartition("-")
    if not (namespace and kind and key):
        _fail(f"{folder} is not a folder of an artifact; take status.model of a run", EXIT_USAGE)
    try:
        store = open_store(store_uri)
        artifact = find(store, namespace, kind, key)
        if artifact is None:
            _fail(f"{store.uri} has no artifact {folder}", EXIT_FAILED)
        output.mkdir(parents=True, exist_ok=True)
        download(store, namespace, kind, key, artifact.digest, output)
    except StoreError as error:
        _fail(str(error), EXIT_FAILED)
    console.print(f"{output}: {len(list(output.iterdir()))} files of {artifact.name}")


def _read_run(file: Path) -> tuple[Recipe, dict[str, Any], RunSpec]:
    """Returns the one run in a manifest; ends the process with a sentence if it is not right."""
    try:
        documents = [doc for doc in yaml.safe_load_all(file.read_text()) if doc]
    except yaml.YAMLError as error:
        _fail(f"{file} is not YAML: {error}", EXIT_USAGE)
    runs = [doc for doc in documents if isinstance(doc, dict) and doc.get("kind") in BY_KIND]
    if len(runs) != 1:
        _fail(f"{file} holds {len(runs)} runs; give one of {', '.join(BY_KIND)}", EXIT_USAGE)
    body = runs[0]
    if body.get("apiVersion") != f"{GROUP}/{VERSION}":
        _fail(f"{file}: apiVersion must be {GROUP}/{VERSION}", EXIT_USAGE)
    if not (body.get("metadata") or {}).get("name"):
        _fail(f"{file}: metadata.name is missing", EXIT_USAGE)
    recipe = BY_KIND[body["kind"]]
    try:
        return recipe, body, recipe.spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        _fail(f"{file}: {sentence(error)}", EXIT_USAGE)


def _fail(message: str, code: int) -> NoReturn:
    errors = Console(stderr=True, highlight=False)
    errors.print(f"Error: {message}", style="red", markup=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
