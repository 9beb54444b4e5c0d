"""Stage ``import``: brings a model or a data set into the store after checking its format.

A model keeps its files under their names; those that are not on the allow-list of ``safety`` stay
behind. A data set becomes ``rows.jsonl`` with its bytes unchanged: one JSON object a line, each
checked against its schema; blank lines are tolerated, duplicates are counted.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autodidact_contract.artifacts import File
from autodidact_contract.base import Schema, digest
from autodidact_contract.records import (
    Evaluation,
    Instruction,
    Question,
    RankedReplies,
    SeedPrompt,
)
from autodidact_contract.stages.base import RUBRICS
from autodidact_contract.stages.data import Import
from autodidact_store.publishing import manifests
from autodidact_worker.intake import chat_templates, model_configs, model_files, sources
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.toys import copying, ledger, lengthy, sums

log = logging.getLogger(__name__)

TOY = "toy://"

ARTIFACT = "artifact://"
"""What a run of the namespace published: the start of a fork, which only the operator names."""

SCHEMAS: dict[str, type[Schema]] = {
    "instructions": Instruction,
    "evaluations": Evaluation,
    "ranked": RankedReplies,
    "questions": Question,
    "prompts": SeedPrompt,
}
"""Row by content; conversation trees have two forms, see ``rows.read_conversations``."""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A built-in task.

    Attributes:
        write_model: Writes its untrained model for a seed.
        data: Its rows for a seed, by the last part of the URI.
        names: Which of these there are for a content.
    """

    write_model: Callable[[Path, int], None]
    data: Mapping[str, Callable[[int], Iterable[Schema]]]
    names: Mapping[str, tuple[str, ...]]


_SPLITS = {"model": ("model",), "questions": tuple(sums.SIZES)}
TOYS = {
    "selfreward": Toy(
        write_model=copying.write_model,
        data=copying.DATA,
        names={
            "model": ("model",),
            "instructions": ("instructions",),
            "evaluations": ("evaluations",),
            "ranked": ("heldout",),
            "trees": ("trees",),
            "prompts": ("validation",),
        },
    ),
    "selfreward-lengthy": Toy(
        write_model=copying.write_model,
        data=lengthy.DATA,
        names={
            "model": ("model",),
            "instructions": ("instructions",),
            "evaluations": ("evaluations",),
            "ranked": ("heldout",),
        },
    ),
    "reft": Toy(write_model=sums.write_model, data=sums.DATA, names=_SPLITS),
    "reft-uniform": Toy(write_model=sums.write_model, data=sums.UNIFORM, names=_SPLITS),
    "reft-program": Toy(write_model=ledger.write_model, data=ledger.DATA, names=_SPLITS),
}
"""Built-in tasks by the first part of the URI."""

MAX_DATA = 1 << 30
"""Bytes of imported rows, which are held in memory to be checked."""

SHOWN = 5
"""Examples at most that an error names."""


def run(context: Context) -> Output:
    """Writes the model's files or ``rows.jsonl``, or points to them where they are.

    Raises:
        UserError: The source is missing, denied, unsafe, or not of the right form.
        StageError: ``SourceUnavailable``: the source cannot be reached now.
    """
    config: Import = context.config
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


def _toy(context: Context) -> Output:
    config: Import = context.config
    task, _, name = config.uri.removeprefix(TOY).partition("/")
    if task not in TOYS or name not in TOYS[task].names.get(config.content, ()):
        known = [
            f"{TOY}{task}/{name}"
            for task, found in TOYS.items()
            for name in found.names.get(config.content, ())
        ]
        raise UserError(
            "InvalidSource", f"{config.uri}: for {config.content} use {' or '.join(known)}"
        )
    if name == "model":
        TOYS[task].write_model(context.out, config.seed)
        model_files.check(context.out)
        return Output(counts={"files": len(list(context.out.iterdir()))})
    rows.write(context.out / rows.DATA, TOYS[task].data[name](config.seed))
    return _counted(config.content, context.out / rows.DATA)


def _artifact(context: Context) -> Output:
    """Points to all files of another run's model, so that its digest is that model's."""
    config: Import = context.config
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


def _model(context: Context) -> Output:
    source = _source(context)
    chosen = model_files.select(source.names())
    if chosen.ignored:
        log.info("left behind: %s", ", ".join(chosen.ignored[:20]))
    external = []
    checked = context.scratch / "model"
    checked.mkdir()

    def take(names: Iterable[str]) -> None:
        for name in names:
            model_files.check_size(name, source.size(name))
            found = source.take(name, context.out, checked)
            external.extend([found] if found else [])
            context.progress(len(external) + len(list(context.out.iterdir())), len(chosen.taken))

    # Small files first: what they say may spare us the weights.
    take(name for name in chosen.taken if not model_files.is_weights(name))
    small = checked if external else context.out
    model_files.check_parts(small, chosen.taken)
    chat_templates.check(small)
    take(filter(model_files.is_weights, chosen.taken))
    if not external:
        model_files.check(context.out)
    return _measured(context.out, external, chosen)


def _data(context: Context) -> Output:
    config: Import = context.config
    source = _source(context)
    names = source.names()
    # Data sets of the hub have .json files that describe them.
    found = [name for name in names if name.endswith(".jsonl")]
    found = found or [name for name in names if name.endswith(".json")]
    if len(found) != 1:
        raise UserError(
            "InvalidSource",
            f"{config.uri} must be one .jsonl file, but there are {len(found)} (found: "
            f"{model_files.few(names)}); name the file in the uri; archives are not unpacked",
        )
    size = source.size(found[0])
    if size > MAX_DATA:
        raise UserError(
            "InvalidData",
            f"{model_files.shown(found[0])} has {size} bytes, more than the {MAX_DATA} that rows may "
            "have; give fewer rows",
        )
    path = source.copy(found[0], context.scratch)
    _check_lines(path)
    output = _counted(config.content, path)
    path.rename(context.out / rows.DATA)
    return output


def _check_lines(path: Path) -> None:
    """Refuses lines that another parser could read differently, such as with a key twice."""
    for number, line in enumerate(rows.lines(path), 1):
        try:
            model_configs.parse_json(line.strip() or b"{}")
        except (ValueError, RecursionError) as error:
            raise UserError(
                "InvalidData",
                f"{path.name} line {number}: {str(error)[:200]}; write one JSON object a line, in "
                "UTF-8 without a byte order mark",
            ) from error


def _counted(content: str, path: Path) -> Output:
    found: Sequence[Schema] = (
        rows.read_conversations(path) if content == "trees" else rows.read(path, SCHEMAS[content])
    )
    for number, row in enumerate(found, 1):
        if isinstance(row, Evaluation):
            _check_score(row, f"{path.name} row {number}")
    _check_ids(path.name, [row.id for row in found if isinstance(row, Question)])
    different = len({digest(row.dump()) for row in found})
    if different < len(found):
        log.warning("%d of %d rows are duplicates", len(found) - different, len(found))
    return Output(counts={"rows": len(found), "duplicates": len(found) - different})


def _check_ids(name: str, ids: list[str]) -> None:
    """Refuses questions of one id: answers, votes and noise are found by it."""
    places: dict[str, list[int]] = {}
    for number, found in enumerate(ids, 1):
        places.setdefault(found, []).append(number)
    twice = {found: numbers for found, numbers in places.items() if len(numbers) > 1}
    if twice:
        shown = "; ".join(
            f"{found} in rows {', '.join(map(str, numbers[:SHOWN]))}"
            for found, numbers in list(twice.items())[:SHOWN]
        )
        raise UserError(
            "DuplicateIds",
            f"{name}: {len(twice)} ids are not unique: {shown}; give each question its own id",
        )


def _check_score(row: Evaluation, name: str) -> None:
    """Refuses a judgement that does not end in its score: the judge would learn the wrong one."""
    votes = [
        judgement.vote(rubrics.get(rubric), row.judgement, "stop", fractional=True)
        for rubric in RUBRICS
    ]
    scores = [vote.score for vote in votes if vote.score is not None]
    if row.score not in scores:
        said = f"ends in the score {scores[0]:g}" if scores else "has no score that can be read"
        raise UserError(
            "InvalidData",
            f"{name}: score is {row.score:g} but its judgement {said}; correct the row, or end the "
            "judgement in its score as the rubric wants it",
        )


def _source(context: Context) -> sources.Source:
    config: Import = context.config
    return sources.resolve(config.uri, context.store, context.scratch, context.stopping)


def _measured(out: Path, external: list[File], chosen: model_files.Selection) -> Output:
    sizes = [path.stat().st_size for path in out.iterdir()] + [file.size for file in external]
    return Output(
        counts={"files": len(sizes), "bytes": sum(sizes), "ignored": len(chosen.ignored)},
        external=tuple(external),
    )
