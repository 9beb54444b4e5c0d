"""Brings a model's files from a source; what is small and can be wrong comes first."""

import logging
from collections.abc import Iterable
from pathlib import Path

from autodidact_contract.artifacts import File
from autodidact_worker.intake import chat_templates, model_files
from autodidact_worker.intake.sources import Source
from autodidact_worker.runtime.progress import ProgressCall

log = logging.getLogger(__name__)


def bring(
    source: Source, out: Path, checked: Path, progress: ProgressCall
) -> tuple[list[File], int]:
    """Brings the files of a model that are on the allow-list of ``model_files``.

    Args:
        source: Where the model is.
        out: Where its files go that have to be copied; empty.
        checked: Where the small files go that are read for their check alone; empty.
        progress: Takes note of files.

    Returns:
        The files that can stay where they are, and how many others were left behind.

    Raises:
        UserError: The model is not one that we accept.
    """
    chosen = model_files.select(source.names())
    if chosen.ignored:
        log.info("left behind: %s", ", ".join(chosen.ignored[:20]))
    external: list[File] = []

    def take(names: Iterable[str]) -> None:
        for name in names:
            model_files.check_size(name, source.size(name))
            found = source.take(name, out, checked)
            external.extend([found] if found else [])
            progress(len(external) + len(list(out.iterdir())), len(chosen.taken))

    # Small files first: what they say may spare us the weights.
    take(name for name in chosen.taken if not model_files.is_weights(name))
    small = checked if external else out
    model_files.check_parts(small, chosen.taken)
    chat_templates.check(small)
    take(filter(model_files.is_weights, chosen.taken))
    if not external:
        model_files.check(out)
    return external, len(chosen.ignored)
