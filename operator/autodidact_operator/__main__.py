"""`python -m autodidact_operator`: the operator, configured by environment variables."""

import argparse
import asyncio
import logging
import os
import sys
from functools import partial

from autodidact_contract.base import GROUP, VERSION
from autodidact_contract.environment import LOG_LEVEL
from autodidact_operator import process
from autodidact_operator.cluster.resources import Resource
from autodidact_operator.errors import OperatorError
from autodidact_operator.plan.recipes import RECIPES
from autodidact_operator.runs.reconcile import build
from autodidact_operator.settings import Settings
from autodidact_store.errors import ConfigurationError, StoreError
from autodidact_store.opening import check_create, open_store, open_sts
from autodidact_store.protocol import Store

STORE_PATIENCE_S = 8.0
"""Seconds of an outage of the store that one lookup sits through."""

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Operate until told to stop; returns the exit code."""
    argparse.ArgumentParser(
        "python -m autodidact_operator",
        description="The operator. Its settings are environment variables, which the chart writes:\n"
        f"those below, and {LOG_LEVEL} (default: INFO).",
        epilog=f"environment:\n{Settings.described()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    level = os.environ.get(LOG_LEVEL, "INFO").upper()
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        settings = Settings.from_environment()
        # A lookup must not hang for long: the run's status then says so, and it is tried again.
        store = open_store(settings.store, patience_s=STORE_PATIENCE_S)
        _check(store)
        sts = None
        if settings.sts_enabled:
            sts = open_sts(settings.sts_role_arn, patience_s=STORE_PATIENCE_S)
        runs = [Resource(GROUP, VERSION, recipe.plural, recipe.kind) for recipe in RECIPES]
        asyncio.run(process.run(settings, runs, partial(build, settings, sts), store))
    except (OperatorError, StoreError) as error:
        # The message says what to do; a traceback would hide it.
        log.critical("stopped error=%s message=%s", type(error).__name__, error)
        return 1
    return 0


def _check(store: Store) -> None:
    """Checks that the store never creates an object twice.

    A store that cannot be asked now is no error: the statuses of the runs will say so.

    Raises:
        ConfigurationError: It does, so that publishing cannot rely on it.
    """
    try:
        check_create(store)
    except ConfigurationError:
        raise
    except StoreError as error:
        log.warning("store not checked error=%s message=%s", type(error).__name__, error)


if __name__ == "__main__":
    sys.exit(main())
