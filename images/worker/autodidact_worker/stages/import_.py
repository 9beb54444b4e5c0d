"""Stage ``import``: brings a model or a data set into the store after checking its format.

A model keeps its files under their names; those that are not on the allow-list of ``model_files`` stay
behind. A data set becomes ``rows.jsonl`` with its bytes unchanged: one JSON object a line, each
checked against its schema; blank lines are tolerated, duplicates are counted.
"""

import logging
from pathlib import Path

from autodidact_contract.base import digest
from autodidact_contract.records import Evaluation
from autodidact_contract.stages.data import Import
from autodidact_store.publishing import manifests
from autodidact_worker.intake import data_files, model_files, models, sources
from autodidact_worker.judging import judgement
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.toys import registry
from autodidact_worker.toys.registry import TOY

log = logging.getLogger(__name__)


ARTIFACT = "artifact://"
"""What a run of the namespace published: the start of a fork, which only the operator names."""


def run(context: Context[Import]) -> Output:
    """Writes the model's files or ``rows.jsonl``, or points to them where they are.

    Raises:
        UserError: The source is missing, denied, unsafe, or not of the right form.
        StageError: ``SourceUnavailable``: the source cannot be reached now.
    """
    config = context.config
    bring = _model if config.content == "model" else _data
    if config.uri.startswith(TOY):
        bring = _toy
    elif config.uri.startswith(ARTIFACT):
        bring = _artifact
    try:
        return bring(context)
    except UserError as error:
        # One Job brings several inputs, and their files may have one name.
        if config.uri in str(error):
            raise
        raise UserError(error.reason, f"{config.uri}: {error}") from error


def _toy(context: Context[Import]) -> Output:
    config = context.config
    task, name = registry.find(config.uri, config.content)
    if name == "model":
        task.write_model(context.out, config.seed)
        model_files.check(context.out)
        return Output(counts={"files": len(list(context.out.iterdir()))})
    rows.write(context.out / rows.DATA, task.data[name](config.seed))
    return _counted(config.content, context.out / rows.DATA)


def _artifact(context: Context[Import]) -> Output:
    """Points to all files of another run's model, so that its digest is that model's."""
    config = context.config
    kind, _, key = config.uri.removeprefix(ARTIFACT).rpartition("-")
    found = context.store and manifests(context.store, context.namespace, kind, key)
    if not found:
        raise UserError(
            "OriginGone",
            f"{config.uri} is not in the store any more; start from a run whose artifacts are",
        )
    files = tuple(file for manifest in found for file in manifest.files)
    context.progress(len(files), len(files))
    return Output(counts={"files": len(files)}, external=files)


def _model(context: Context[Import]) -> Output:
    checked = context.scratch / "model"
    checked.mkdir()
    external, ignored = models.bring(_source(context), context.out, checked, context.progress)
    sizes = [path.stat().st_size for path in context.out.iterdir()]
    sizes += [file.size for file in external]
    return Output(
        counts={"files": len(sizes), "bytes": sum(sizes), "ignored": ignored},
        external=tuple(external),
    )


def _data(context: Context[Import]) -> Output:
    config = context.config
    source = _source(context)
    path = source.copy(data_files.choose(source, config.uri), context.scratch)
    data_files.check_lines(path)
    output = _counted(config.content, path)
    path.rename(context.out / rows.DATA)
    return output


def _counted(content: str, path: Path) -> Output:
    found = data_files.read(content, path)
    for number, row in enumerate(found, 1):
        if isinstance(row, Evaluation):
            judgement.check_score(row, f"{path.name} row {number}")
    different = len({digest(row.dump()) for row in found})
    if different < len(found):
        log.warning("%d of %d rows are duplicates", len(found) - different, len(found))
    return Output(counts={"rows": len(found), "duplicates": len(found) - different})


def _source(context: Context[Import]) -> sources.Source:
    uri = context.config.uri
    return sources.resolve(uri, context.store, context.scratch, context.stopping)
