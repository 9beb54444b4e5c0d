"""The command line: ``autodidact``, also installed as ``kubectl-autodidact``.

Each module holds a group of commands; ``console`` is what they share.
"""

import click

from autodidact_operator.cli.fetch import fetch
from autodidact_operator.cli.manifests import crds, validate
from autodidact_operator.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autodidact")
def main() -> None:
    """Language models that improve themselves, on a cluster or on this machine."""


for command in (run, validate, fetch, crds):
    main.add_command(command)
