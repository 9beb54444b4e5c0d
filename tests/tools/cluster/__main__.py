"""The command line of the development cluster."""

import asyncio
import contextlib
import dataclasses
import logging
import signal
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from tools.cluster import detached, tools
from tools.cluster.api import Api
from tools.cluster.control_plane import Cluster, Options
from tools.cluster.log_server import Credentials
from tools.cluster.node import ProcessNode
from tools.cluster.node_settings import NodeSettings


@click.group()
def main() -> None:
    """A real Kubernetes for tests and development, as ordinary processes."""


_NAME = click.option("--name", default="default", show_default=True, help="The cluster's name.")


@main.command()
@_NAME
@click.option("--detach", is_flag=True, help="Return when it is ready; end it with `down`.")
@click.option("--fast", is_flag=True, help="Lift the controllers' client limits.")
@click.option("--node/--no-node", "with_node", default=True, help="Start a process node.")
@click.option("--settings", default="{}", help="The node's NodeSettings as JSON.")
def up(name: str, *, detach: bool, fast: bool, with_node: bool, settings: str) -> None:
    """Start a cluster and keep it until Ctrl-C or SIGTERM."""
    running = detached.recall(name)
    if running is not None:
        raise click.ClickException(f"cluster {name!r} runs already in {running.directory}")
    if detach:
        flags = ["--fast"] * fast + ["--no-node"] * (not with_node) + ["--settings", settings]
        click.echo(detached.start(name, flags).exports())
        return
    # SIGTERM unwinds like Ctrl-C, also while the cluster starts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        _run_cluster(name, Options(fast=fast), NodeSettings.from_json(settings), with_node)


def _run_cluster(name: str, options: Options, settings: NodeSettings, with_node: bool) -> None:
    detached.place(name).mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with Cluster(options=options) as cluster:
            if with_node:
                cluster.add_node(settings)
            running = detached.Running.of(cluster)
            detached.remember(name, running)
            tools.print_progress(f"cluster {name!r} is ready in {cluster.directory}")
            click.echo(running.exports())
            threading.Event().wait()
    finally:
        detached.forget(name)


@main.command()
@_NAME
def down(name: str) -> None:
    """End a cluster and remove its files; fine if there is none."""
    click.echo(f"cluster {name!r} " + ("ended" if detached.stop(name) else "does not run"))


@main.command()
@_NAME
def status(name: str) -> None:
    """Say whether a cluster runs; the exit code is 1 if not."""
    running = detached.recall(name)
    if running is None:
        raise click.ClickException(f"cluster {name!r} does not run")
    click.echo(f"cluster {name!r} runs in {running.directory} (process {running.pid})")


@main.command()
@_NAME
def env(name: str) -> None:
    """Print a running cluster's variables, for `eval`."""
    running = detached.recall(name)
    if running is None:
        raise click.ClickException(f"cluster {name!r} does not run")
    click.echo(running.exports())


@main.command("tools")
def build_tools() -> None:
    """Build the programs that are not in the cache yet."""
    for name, path in tools.build_all(extra=True).items():
        click.echo(f"{name}\t{path}")


@main.command()
@click.option("--kubeconfig", type=Path, required=True)
@click.option("--directory", type=Path, required=True, help="Where pods have their files.")
@click.option("--authority", type=Path, required=True, help="The API server's authority.")
@click.option("--settings", default="{}", help="NodeSettings as JSON.")
@click.option("--name", help="The node's name, if the settings do not say it.")
@click.option("--certificate", type=Path, help="Serving certificate, for kubectl logs.")
@click.option("--key", type=Path, help="The certificate's key.")
def node(
    kubeconfig: Path,
    directory: Path,
    authority: Path,
    settings: str,
    name: str | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Run a process node until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    chosen = NodeSettings.from_json(settings)
    if name:
        chosen = dataclasses.replace(chosen, name=name)
    credentials = None
    if certificate and key:
        credentials = Credentials(certificate=certificate, key=key, client_authority=authority)

    async def live() -> None:
        async with Api.from_kubeconfig(kubeconfig, user_agent="process-node") as api:
            process_node = ProcessNode(
                api, chosen, directory, authority=authority, credentials=credentials
            )
            await _until_told(process_node.run())

    asyncio.run(live())


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Await something and cancel it when the process is asked to end."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
