"""A run's page: making it, and what a browser would find in it."""

import re
from html.parser import HTMLParser
from pathlib import Path

from autodidact_contract.api import kinds
from autodidact_contract.api.kinds import Kind
from autodidact_contract.stages.report import Report
from autodidact_worker.runtime.frame import Context, InputArtifact
from autodidact_worker.stages import report

VOID = {"meta", "link", "br", "img", "hr"}


HOSTILE = "</pre><script>alert(1)</script><img src=http://x.test/a onerror=alert(1)>{{ 7*7 }}&lt;"


class Page(HTMLParser):
    """What a browser would load or run, and whether all elements are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what the element loads, runs or names."""
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            shown = value or ""
            if name in ("src", "srcset", "data", "action", "background", "poster"):
                self.loads.append(shown)
            elif name in ("href", "xlink:href"):
                (self.references if shown.startswith("#") else self.links).append(shown)
            elif name.startswith("on"):
                self.handlers.append(name)
            elif name == "id":
                self.ids.append(shown)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As above, and closes it."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Closes the innermost element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps the text."""
        self.text.append(data)


def make(
    folder: Path,
    inputs: dict[str, InputArtifact],
    title: str = "copying",
    kind: Kind = kinds.SELF_REWARD,
) -> str:
    """Runs the stage ``report`` on inputs and returns its page."""
    out = folder / "out"
    out.mkdir(parents=True)
    report.run(Context(config=Report(title=title), inputs=inputs, out=out, run_kind=kind.kind))
    return (out / "report.html").read_text(encoding="utf-8")


def cells(html: str, heading: str, table: str = "") -> list[str]:
    """Returns the cells of the first row whose header starts with a text.

    Args:
        html: The page.
        heading: The text.
        table: Header of the table's first column; empty: of the first table with such a row.
    """
    start = html.index(f'<th scope="col">{table}</th>') if table else 0
    found = re.compile(rf'<th scope="row">{heading}.*?</tr>', re.DOTALL).search(html, start)
    assert found, heading
    found_cells = re.findall(r"<td[^>]*>(.*?)</td>", found[0], re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).strip().replace("\u202f", " ") for cell in found_cells]
