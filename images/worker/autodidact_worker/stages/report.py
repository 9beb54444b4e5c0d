"""Stage ``report``: one offline HTML page of whatever the run has finished. No torch."""

import re

from autodidact_contract.api.kinds import BY_KIND
from autodidact_contract.base import canonical_json
from autodidact_contract.stages.report import Report
from autodidact_worker.report import origin, page, recipes
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output

_WANTED = re.compile(
    r"training_log\.jsonl"  # all that is read of a model
    r"|(judged|battles|verdicts|reranked)-\d+\.jsonl"
    r"|(pairs|samples)-00000\.jsonl"  # only to look at; of training questions there may be millions
)


def wanted(name: str) -> bool:
    """Whether a file of an input is read here, by its name."""
    return bool(_WANTED.fullmatch(name))


def run(context: Context[Report]) -> Output:
    """Writes ``report.html`` and ``summary.json``; the same inputs give the same bytes.

    Inputs: every finished stage but imports, under its stage name; any of them may be missing.
    """
    config = context.config
    if context.run_kind not in BY_KIND:
        raise UserError(
            "InvalidTask",
            f"there is no report of a run of kind {context.run_kind!r}; by hand, name one of "
            f"{', '.join(BY_KIND)} with --run-kind",
        )
    story = recipes.tell(BY_KIND[context.run_kind], context.inputs)
    lineage = origin.lineage(context.inputs, story.order)
    settings = origin.settings(context.inputs, story.order)
    html = page.render(config.title, config.seed, story, lineage, settings)
    (context.out / "report.html").write_text(html, encoding="utf-8", newline="\n")
    summary = {
        "title": config.title,
        **story.summary,
        "lineage": [
            {
                "stage": one.stage,
                "kind": one.kind,
                "digest": one.digest,
                "madeOf": dict(one.made_of),
            }
            for one in lineage
        ],
        "notes": list(story.notes),
    }
    (context.out / "summary.json").write_bytes(canonical_json(summary))
    context.progress(1, 1)
    return Output(counts=story.counts)
