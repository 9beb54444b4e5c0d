"""``autodidact fetch``: artifacts from the store to this machine."""

from pathlib import Path

import click

from autodidact_operator.cli.console import EXIT_FAILED, EXIT_USAGE, console, fail
from autodidact_store import StoreError, open_store


@click.command()
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
    from autodidact_store.publishing import fetch as download  # noqa: PLC0415 - not needed for --help
    from autodidact_store.publishing import find  # noqa: PLC0415 - not needed for --help

    namespace, _, rest = folder.strip("/").partition("/artifacts/")
    kind, _, key = rest.partition("/")[0].rpartition("-")
    if not (namespace and kind and key):
        fail(f"{folder} is not a folder of an artifact; take status.model of a run", EXIT_USAGE)
    try:
        store = open_store(store_uri)
        artifact = find(store, namespace, kind, key)
        if artifact is None:
            fail(f"{store.uri} has no artifact {folder}", EXIT_FAILED)
        output.mkdir(parents=True, exist_ok=True)
        download(store, namespace, kind, key, artifact.digest, output)
    except StoreError as error:
        fail(str(error), EXIT_FAILED)
    console.print(f"{output}: {len(list(output.iterdir()))} files of {artifact.name}")
