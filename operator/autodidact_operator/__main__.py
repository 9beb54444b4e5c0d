"""`python -m autodidact_operator`: the operator, configured by environment variables."""

import asyncio
import logging
import os
import sys
from functools import partial

from autodidact_contract.base import GROUP, VERSION
from autodidact_operator import process
from autodidact_operator.errors import OperatorError
from autodidact_operator.recipes import RECIPES
from autodidact_operator.reconcile import build
from autodidact_operator.resources import Resource
from autodidact_operator.settings import Settings
from autodidact_store.errors import StoreError
from autodidact_store.opening import open_store

STORE_PATIENCE_S = 8.0
"""Seconds of an outage of the store that one lookup sits through."""

_logger = logging.getLogger(__name__)


def main() -> int:
    """Operate until told to stop; returns the exit code."""
    level = os.environ.get("AUTODIDACT_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        settings = Settings.from_environment()
        # A lookup that hangs must not hold a run back: it is hindered, says so, and looks again.
        store = open_store(settings.store, patience_s=STORE_PATIENCE_S)
        runs = [Resource(GROUP, VERSION, recipe.plural, recipe.kind) for recipe in RECIPES]
        asyncio.run(process.run(settings, runs, partial(build, settings), store))
    except (OperatorError, StoreError) as error:
        # The sentence says it all; a traceback would bury it.
        _logger.critical("stopped error=%s message=%s", type(error).__name__, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
