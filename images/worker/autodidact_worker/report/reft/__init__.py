"""What the report of a ReFT run (arXiv 2401.08967) shows."""

from collections.abc import Mapping

from autodidact_worker.report import drawing
from autodidact_worker.report.reft import plots, summary
from autodidact_worker.report.reft.figures import TITLES, collect
from autodidact_worker.report.reft.glossary import GLOSSARY
from autodidact_worker.report.reft.headline import headline, names, warnings
from autodidact_worker.report.story import SAMPLES, Story
from autodidact_worker.runtime.frame import InputArtifact


def tell(inputs: Mapping[str, InputArtifact]) -> Story:
    """Returns what the finished stages of a ReFT run have to tell."""
    figures = collect(inputs, looked=SAMPLES // 2)
    return Story(
        template="reft.html.j2",
        order=figures.stages,
        headline=headline(figures),
        plots=drawing.draw(plots.PLOTS, figures),
        glossary=GLOSSARY,
        notes=(*warnings(figures), *figures.notes),
        groups=2,
        shown={"figures": figures, "strategies": names(figures), "titles": TITLES},
        summary=summary.of(figures),
        counts={"models": sum(bool(arm.digest) for arm in figures.arms)},
    )
