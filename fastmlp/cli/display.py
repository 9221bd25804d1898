"""What the command line shows while it works: with rich a progress bar, without it plain lines.

This is the only file that knows rich, which the ``demo`` extra brings.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from fastmlp.process.extras import MissingExtraError, import_extra

SECONDS_BETWEEN_REFRESHES = 0.1


class Progress(Protocol):
    """A piece of work whose steps are counted."""

    def advance(self, steps: int) -> None:
        """Note that so many more steps are done."""


class Display(Protocol):
    """Where lines, progress and tables go."""

    def line(self, text: str) -> None:
        """Print a line, above the progress bar if there is one."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Progress]:
        """Return a context manager that shows progress; its value is a :class:`Progress`."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is for names, the others for figures."""


def open_display() -> Display:
    """Return a display for standard output: rich's if it is installed and a person looks on."""
    try:
        import_extra(["rich"], "demo", "There is no progress bar, because rich is missing")
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        return PlainDisplay()
    return RichDisplay()


class PlainProgress:
    """Progress that isn't shown: lines tell how far the work is."""

    def advance(self, steps: int) -> None:
        """Show nothing."""


class PlainDisplay:
    """A display that prints plain lines."""

    def line(self, text: str) -> None:
        """Print a line at once, even into a pipe."""
        print(text, flush=True)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Say what begins."""
        self.line(f"{label} ...")
        yield PlainProgress()

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print columns set apart by spaces, figures to the right."""
        lines = [header, *rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for number, line in enumerate(lines):
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            self.line("  ".join(cells).rstrip())
            if number == 0:
                self.line("-" * (sum(widths) + 2 * (len(widths) - 1)))


class RichProgress:
    """A task of a rich progress bar, drawn again at most ten times a second."""

    def __init__(self, bar, task):
        self._bar = bar
        self._task = task
        self._waiting = 0
        self._refreshed = time.perf_counter()

    def advance(self, steps: int) -> None:
        """Count the steps, and draw the bar if it is time."""
        self._waiting += steps
        now = time.perf_counter()
        if now - self._refreshed >= SECONDS_BETWEEN_REFRESHES:
            self._refreshed = now
            self.flush()

    def flush(self) -> None:
        """Draw all that has been counted."""
        self._bar.update(self._task, advance=self._waiting)
        self._bar.refresh()
        self._waiting = 0


class RichDisplay:
    """A display that draws with rich."""

    def __init__(self):
        from rich.console import Console

        self._console = Console(highlight=False)

    def line(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Draw a progress bar while the block runs."""
        from rich import progress

        # Drawn between pieces of work, never by a thread of its own, which would share the
        # processor with what is being timed.
        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        with bar:
            task = RichProgress(bar, bar.add_task(label, total=total))
            bar.refresh()
            yield task
            task.flush()

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Draw a table."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.ROUNDED, header_style="bold")
        table.add_column(header[0])
        for name in header[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)
