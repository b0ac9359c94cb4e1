"""What commands print: results on stdout, progress and warnings on stderr, nothing that a file made up.

File names, headers and error messages come from outside: `escaped` is the one place where their control
characters become visible. Imported inside command functions only, because rich would slow ``--help`` down.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from time import monotonic
from typing import Any

from rich import progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from glualign.cli.streams import escaped
from glualign.plain import plain

# A pipe has no width; tables must not be folded or cut on their way into grep or a file.
_PIPE_WIDTH = 400


class SafeConsole(Console):
    """A rich console that escapes what it is given to print, and animates on a real terminal only."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it: ``FORCE_COLOR`` must not put spinner frames into a log."""
        isatty = getattr(self.file, "isatty", None)
        return bool(isatty and isatty())

    @property  # type: ignore[misc]  # nobody sets it
    def file(self) -> Any:
        """Where rich writes: past `SafeStream`, also while a progress bar has its own stream before it."""
        file = super().file
        return getattr(file, "rich_proxied_file", file)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments as rich makes them, their text escaped; its own control codes pass."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(escaped(segment.text, keep="\n"), segment.style)


console = SafeConsole(highlight=False, emoji=False)
error_console = SafeConsole(stderr=True, highlight=False, emoji=False)


def _show(table: Table) -> None:
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(file=io.StringIO(), width=_PIPE_WIDTH, highlight=False, emoji=False, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print name and value in two aligned columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(escaped(name)), Text(escaped(value)))
    _show(grid)


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    right: Sequence[int] = (),
) -> None:
    """Print a table; the columns whose positions are in ``right`` (numbers) are aligned to the right."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
    )
    for position, header in enumerate(headers):
        table.add_column(header, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(escaped(cell)) for cell in row))
    _show(table)


def print_json(value: Any) -> None:
    """Print one JSON document: paths as text, numbers that JSON has no word for (NaN, infinity) as null."""
    print(json.dumps(plain(value), ensure_ascii=False))


def warn(message: str) -> None:
    """Print one warning line on stderr."""
    error_console.print(Text(escaped(f"glualign: warning: {message}")), soft_wrap=True)


def print_notes(name: str, notes: Iterable[str], *, show: bool = True) -> None:
    """Print what reading or writing the image ``name`` has to say, one warning line each, if ``show``."""
    for note in notes if show else ():
        warn(f"{name}: {note}")


def progress_on(*columns: progress.ProgressColumn, show: bool, transient: bool = True) -> progress.Progress:
    """A progress display on stderr; one that shows nothing without a terminal or ``show``."""
    if show and error_console.is_terminal:
        return progress.Progress(*columns, console=error_console, transient=transient)
    # Before 14.3, rich ends a disabled display with an empty line.
    return progress.Progress(*columns, console=Console(file=io.StringIO()), disable=True)


@contextmanager
def counted(total: int, description: str = "", *, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with the time left during the block; yields what to call after each of ``total`` steps."""
    columns = progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn()
    with progress_on(progress.TextColumn("{task.description}"), *columns, show=show) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def status(message: str, *, show: bool = True) -> Iterator[Callable[[str], None]]:
    """Show a spinner and the seconds spent while the block runs, on a terminal only and only if ``show``.

    Yields what to call with the name of each step as it begins; one that is over is shown with its seconds.
    """
    description = progress.TextColumn("{task.description}", markup=False)
    columns = (progress.SpinnerColumn(), description, progress.TimeElapsedColumn())
    with progress_on(*columns, show=show) as bar:
        task = bar.add_task(escaped(message), total=None)
        steps: list[tuple[str, float]] = []

        def begin(name: str) -> None:
            if not steps or steps[-1][0] != name:
                steps.append((name, monotonic()))
            over = (f"{step} {end - start:.1f} s," for (step, start), (_, end) in pairwise(steps))
            bar.update(task, description=escaped(" ".join([message, *over, name])))

        yield begin
