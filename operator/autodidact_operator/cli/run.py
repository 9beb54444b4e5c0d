"""``autodidact run``: a run on this machine, without Kubernetes."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from autodidact_contract.api.status import RunStatus
from autodidact_contract.environment import ENGINE, ENGINE_URL, ENGINES
from autodidact_operator.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, console, fail
from autodidact_operator.cli.manifests import read_run
from autodidact_operator.local.run import InterruptedRunError, LocalRun, run_ref
from autodidact_operator.local.terminal import results, view
from autodidact_store import StoreError, check, check_create, open_store

LOG_LINES = 20
"""Lines of a failed stage's log that are shown at the end."""

HELP = f"""Run the run in FILE on this machine, without Kubernetes.

The same stages, artifacts and decisions as on a cluster. An interrupted or failed run goes on
where it was when the command is given again. Ctrl-C lets the stage save its state first; a
second one kills it. {ENGINE} says by which engine stages sample: {", ".join(ENGINES)}; openai
needs {ENGINE_URL} as well.
"""


@click.command(help=HELP)
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
    """Runs the run in a manifest to its end."""
    recipe, body, spec = read_run(file)
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
        fail(str(error), EXIT_USAGE)
    ref = run_ref(recipe.kind, where, name, body["spec"])
    with tempfile.TemporaryDirectory(prefix="autodidact-") as scratch, view(console, name) as show:
        at_work = LocalRun(
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


def _drive(at_work: LocalRun, name: str, logs: Path | None) -> RunStatus:
    """Runs to the end; keeps the logs that were asked for, whatever the end is."""
    try:
        return asyncio.run(at_work.run())
    except InterruptedRunError:
        console.print(f"{name} was interrupted; give the same command again to go on", style="bold")
        sys.exit(EXIT_INTERRUPTED)
    except StoreError as error:
        fail(str(error), EXIT_FAILED)
    finally:
        if logs:
            for log in sorted(at_work.folder.glob("*/*/log")):
                target = logs / f"{log.parent.parent.name}-{log.parent.name}.log"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log, target)


def _conclude(status: RunStatus, at_work: LocalRun, store_uri: str) -> None:
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
    fail(f"{condition.reason}: {condition.message}", EXIT_FAILED)
