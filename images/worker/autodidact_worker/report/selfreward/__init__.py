"""What the report of a Self-Rewarding run (arXiv 2401.10020) shows."""

from collections.abc import Mapping

from autodidact_worker.report import drawing
from autodidact_worker.report.selfreward import measures, plots, summary
from autodidact_worker.report.selfreward.figures import JUDGE_METRICS, collect
from autodidact_worker.report.selfreward.glossary import GLOSSARY
from autodidact_worker.report.selfreward.headline import headline
from autodidact_worker.report.story import SAMPLES, Story
from autodidact_worker.runtime.frame import InputArtifact


def tell(inputs: Mapping[str, InputArtifact]) -> Story:
    """Returns what the finished stages of a Self-Rewarding run have to tell."""
    figures = collect(inputs, samples=SAMPLES // 4)
    measured = measures.collect(inputs)
    return Story(
        template="selfreward.html.j2",
        order=figures.stages,
        headline=headline(figures),
        plots=drawing.draw(plots.PLOTS, figures),
        glossary=GLOSSARY,
        notes=tuple(dict.fromkeys((*figures.notes, *measured.notes))),
        groups=len(figures.rounds),
        shown={
            "figures": figures,
            "judge_metrics": JUDGE_METRICS,
            "measures": measured,
            "shares": measures.SHARES,
        },
        summary={**summary.of(figures), "measures": measured.summary()},
        counts={"rounds": len(figures.rounds), "models": len(figures.models)},
    )
