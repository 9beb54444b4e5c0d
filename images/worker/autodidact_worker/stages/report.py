"""Stage ``report``: one offline HTML page of whatever the run has finished. No torch."""

from autodidact_contract.base import canonical_json
from autodidact_contract.stages import Report
from autodidact_worker.frame import Context, Output
from autodidact_worker.report import page, summary
from autodidact_worker.report.figures import collect


def wanted(name: str) -> bool:
    """Of a model the report reads the training log alone, of other artifacts the rows."""
    return name.endswith(".jsonl")


def run(context: Context) -> Output:
    """Writes ``report.html`` and ``summary.json``; the same inputs give the same bytes.

    Inputs: every finished stage but imports, under its stage name; any of them may be missing.
    """
    config: Report = context.config
    figures = collect(context.inputs, samples=page.SAMPLES // 4)
    html = page.render(config.title, config.seed, figures)
    (context.out / "report.html").write_text(html, encoding="utf-8", newline="\n")
    (context.out / "summary.json").write_bytes(canonical_json(summary.of(config.title, figures)))
    context.progress(1, 1)
    return Output(counts={"rounds": len(figures.rounds), "models": len(figures.models)})
