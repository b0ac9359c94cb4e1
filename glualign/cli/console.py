"""What commands print: results on stdout, progress and warnings on stderr.

rich is imported inside functions only, because it would slow ``--help`` down.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.streams import IN_CODES, SafeStream, escaped
from glualign.files import json_values

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

# A pipe has no width; tables must not be folded or cut on their way into grep or a file.
_PIPE_WIDTH = 100_000


def print_table(
    rows: Iterable[Sequence[str]], headers: Sequence[str] = (), title: str = "", right: Collection[int] = ()
) -> None:
    """Print rows in aligned columns; without ``headers`` they are pairs of a name and a value.

    The columns whose positions are in ``right`` (numbers) are aligned to the right. Values fold on terminals.
    """
    cells = [[escaped(cell) for cell in row] for row in rows]
    if not headers:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
        formatter = click.HelpFormatter(width=width)
        formatter.write_dl([(name, value) for name, value in cells])
        print(formatter.getvalue(), end="")
        return
    print(title, end="\n" if title else "")
    table = [headers, *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    forms = [f"{{:{'>' if place in right else '<'}{width}}}" for place, width in enumerate(widths)]
    for row in table:
        print("  ".join(form.format(cell) for form, cell in zip(forms, row, strict=True)).rstrip())


def summary_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values for a person, of what ``--json`` prints; what is empty is left out."""
    forms = {
        "share": "{:.1%}",
        "length": "{:.2f} px",
        "size": "{:,} bytes",
        "bytes": "{:,}",
        "parameters": "{:,}",
    }
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += summary_rows(value)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, int) for item in value):
            rows.append((name, ", ".join(map(str, value))))
        elif isinstance(value, (list, tuple)):
            rows += [("" if place else name, str(item)) for place, item in enumerate(value)]
        elif name.endswith("height"):  # joins the width before it
            rows[-1] = (name.replace("height", "size"), f"{rows[-1][1]} x {value} px")
        elif value not in (None, ""):
            rows.append((name, forms.get(name.rpartition("_")[2], "{}").format(value)))
    return [(name.replace("_", " "), value) for name, value in rows]


def print_json(value: Any, *, ascii_only: bool = False) -> None:
    """Print one JSON document: paths as text, numbers that JSON has no word for (NaN, infinity) as null."""
    print(json.dumps(json_values(value), ensure_ascii=ascii_only), flush=True)


def note(text: str) -> None:
    """Print one line on stderr."""
    print(escaped(text), file=sys.stderr, flush=True)


def is_quiet() -> bool:
    """Whether the running command was given ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("quiet"))


def warn(*messages: str, always: bool = False) -> None:
    """Print a line for each warning on stderr, unless `is_quiet` and not ``always``."""
    for message in messages if always or not is_quiet() else ():
        note(f"glualign: warning: {message}")


def progress_on(*columns: ProgressColumn, show: bool = True, transient: bool = True) -> Progress:
    """A progress display on stderr; one that shows nothing if `is_quiet`, without a terminal or ``show``.

    What is printed meanwhile appears above it. Descriptions are not escaped.
    """
    from rich.console import Console
    from rich.progress import Progress

    shown = show and sys.stderr.isatty() and not is_quiet()
    if shown:
        stream: Any = SafeStream(sys.stderr, "standard error", IN_CODES)
        console = Console(file=stream, force_terminal=True, highlight=False, emoji=False)
    else:  # before 14.3, rich ends a disabled display with an empty line
        console = Console(file=io.StringIO())
    return Progress(*columns, console=console, transient=transient, disable=not shown)


@contextmanager
def counted(total: int, description: str = "") -> Iterator[Callable[[], None]]:
    """Show a bar with the time left during the block; yields what to call after each of ``total`` steps."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress_on(TextColumn("{task.description}"), *columns) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def status(message: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner and the seconds spent while the block runs, on a terminal only.

    Yields what to call with the name of each step as it begins; one that is over is shown with its seconds.
    """
    if is_quiet() or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    steps: list[tuple[str, float]] = []
    description = TextColumn("{task.description}", markup=False)
    with progress_on(SpinnerColumn(), description, TimeElapsedColumn()) as bar:
        task = bar.add_task(escaped(message), total=None)

        def begin(name: str) -> None:
            if not steps or steps[-1][0] != name:
                steps.append((name, monotonic()))
            over = (f"{step} {end - start:.1f} s," for (step, start), (_, end) in pairwise(steps))
            bar.update(task, description=escaped(" ".join([message, *over, name])))

        yield begin
