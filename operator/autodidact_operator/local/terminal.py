"""What a person sees of a local run: a live view in a terminal, plain lines elsewhere."""

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autodidact_contract.api.kinds import KINDS
from autodidact_contract.api.status import Iteration, RunStatus
from autodidact_operator.plan.types import Event

_MARKS = {
    "Succeeded": ("✓", "green"),
    "Running": ("▸", "cyan"),
    "Pending": ("·", "dim"),
    "Failed": ("✗", "red"),
    "Skipped": ("-", "dim"),
}
_COLUMNS = tuple(column for row in KINDS for column in row.columns)
"""Figures that are printed beside a model's name, those of all kinds of run."""


class View(Protocol):
    """Shows a run while it goes on."""

    def __enter__(self) -> Self:
        """Begins to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends, leaving the screen in order."""
        ...

    def __call__(self, status: RunStatus, events: tuple[Event, ...]) -> None:
        """Shows a new status."""
        ...


def view(console: Console, name: str) -> View:
    """Returns the view that fits where the output goes."""
    return LiveView(console, name) if console.is_terminal else PlainView(console, name)


class LiveView:
    """A table that is drawn again in place."""

    def __init__(self, console: Console, name: str) -> None:
        self._name = name
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def __call__(self, status: RunStatus, events: tuple[Event, ...]) -> None:
        """Draws a new status."""
        for event in _notable(events):
            self._live.console.print(_line(event))
        self._live.update(_screen(self._name, status))


class PlainView:
    """One line per change; what a log file wants."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, status: RunStatus, events: tuple[Event, ...]) -> None:
        """Prints what changed."""
        for event in _notable(events):
            self._print(f"{event.type}: {event.reason}: {event.message}")
        tenth = status.progress[:-2] + "0%" if len(status.progress) > 2 else ""
        shown = f"{status.phase} iteration {status.iteration} {status.stage} {tenth}".rstrip()
        if shown != self._shown:
            self._shown = shown
            self._print(shown)

    def _print(self, text: str) -> None:
        stamp = datetime.now().astimezone().strftime("%H:%M:%S")
        line = f"{stamp} {self._name} {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def results(history: Iterable[Iteration]) -> Table:
    """Returns the table of a run's models; figures that none of them has are left out."""
    lines = list(history)
    shown = [
        column
        for column in _COLUMNS
        if any(getattr(line, column.figure) is not None for line in lines)
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Model")
    for column in shown:
        table.add_column(column.heading, justify="right")
    for line in lines:
        values = [(getattr(line, column.figure), column.form) for column in shown]
        table.add_row(
            Text(line.name),
            *("" if value is None else form.format(value) for value, form in values),
        )
    return table


def _notable(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event.type == "Warning"]


def _line(event: Event) -> Text:
    return Text(f"{event.reason}: {event.message}", style="yellow")


def _screen(name: str, status: RunStatus) -> RenderableType:
    title = Text.assemble(
        (name, "bold"), "  ", (status.phase, "cyan"), f"  iteration {status.iteration}"
    )
    stages = Table(box=None, pad_edge=False, show_header=False)
    for stage in status.stages:
        mark, style = _MARKS[stage.phase]
        at_work = stage.name == status.stage and status.progress
        done = int(status.progress[:-1] or 0)
        bar = ProgressBar(total=100, completed=done, width=30)
        stages.add_row(
            Text(mark, style=style),
            Text(stage.name, style=style),
            bar if at_work else Text(stage.reason, style="yellow"),
            Text(f"{status.progress} {status.eta}" if at_work else stage.message, style="dim"),
        )
    parts: list[RenderableType] = [title, stages]
    if status.history:
        parts.append(results(status.history))
    return Group(*parts)
