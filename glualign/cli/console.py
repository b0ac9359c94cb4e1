"""What commands print: results on stdout, progress and warnings on stderr, nothing that a file made up.

File names, headers and error messages come from outside: `escaped` is the one place where their control
characters become visible. rich is imported inside functions only, because it would slow ``--help`` down.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from itertools import pairwise
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click

from glualign.errors import GlualignError, OutputError
from glualign.files import PIPE_LIMIT, json_values

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

# Control characters (C0, then DEL and C1), line separators, marks that turn the direction of text, lone
# surrogates: all of them in a name, all but tab and line feed in printed lines, and beneath rich, which
# strips other sequences from what it is given, all but those that start the codes of colours and cursor.
_BEYOND_C0 = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_NAMES = re.compile(f"[\x00-\x1f{_BEYOND_C0}]")
_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_C0}]")
_IN_CODES = re.compile(f"\x1b(?!\\[)|[{_BEYOND_C0}]")
# A pipe has no width; tables must not be folded or cut on their way into grep or a file.
_PIPE_WIDTH = 100_000


def escaped(text: str, unsafe: re.Pattern[str] = _IN_NAMES, encoding: str | None = None) -> str:
    r"""``text`` with what a terminal would obey, or ``encoding`` lacks, as ``\uXXXX``, the form of JSON."""
    text = unsafe.sub(lambda match: _visible(match[0]), text)
    return text if encoding is None else text.encode(encoding, "glualign-visible").decode(encoding)


def _visible(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return _visible(error.object[error.start : error.end]), error.end


codecs.register_error("glualign-visible", _replace)


class SafeStream:
    """A text stream that escapes what it is given, and names itself when nothing more can be written."""

    def __init__(self, stream: Any, name: str, unsafe: re.Pattern[str] = _IN_LINES) -> None:
        self._stream: Any = stream._stream if isinstance(stream, SafeStream) else stream
        self._name = name
        self._unsafe = unsafe

    def write(self, text: str, data: bytes = b"") -> int:
        """Write text, or else ``data``, and flush; raises `OutputError` where the stream cannot take it."""
        shown = escaped(text, self._unsafe, self._stream.encoding or "utf-8")
        try:
            if data:
                self._stream.buffer.write(data)
            elif shown:  # click writes empty text to see what kind of stream it has, and ignores the answer
                self._stream.write(shown)
            self._stream.flush()
        except OSError as error:
            # What is left in the buffer goes nowhere, or Python would try again at its end.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"{self._name}: cannot be written ({error.strerror or 'closed'})") from error
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Have everything that is printed within the block go through a `SafeStream`."""
    before: tuple[Any, Any] = sys.stdout, sys.stderr
    with open(os.devnull) as closed, open(os.devnull, "w") as nowhere:
        sys.stdout = SafeStream(before[0] or closed, "standard output")
        # Errors that cannot be shown must not hide the exit code.
        sys.stderr = SafeStream(before[1] or nowhere, "standard error")
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


# How files begin whose format is chosen by their extension; images are known by their content.
_BEGINNINGS = {
    b"PIEH": ".flo",
    b"\x93NUMPY": ".npy",
    b"PK": ".npz",
    b"\x89PNG": ".png",
    b"Pf": ".pfm",
    b"PF": ".pfm",
    b"NRRD": ".nrrd",
    b"\x89HDF": ".flo5",
    b"ObjectType": ".mha",
}


@contextmanager
def files_for_dashes(values: dict[str, Any], inputs: Sequence[str], extension: str) -> Iterator[None]:
    """Have files of a temporary folder in place of every ``-`` for the time of the block.

    ``values`` are a command's parameters: those in ``inputs`` name files, ``output`` the file written, and
    ``format`` its extension on standard output, ``extension`` where it is empty.
    """
    given = {key: values[key] for key in inputs if key in values}
    files = {key: [names] if isinstance(names, str) else names for key, names in given.items()}
    dashes = sum(list(several).count("-") for several in files.values())
    if dashes > 1:
        raise click.UsageError("- is standard input, which holds one file only.")
    if not dashes and values["output"] != "-":
        yield
        return
    with TemporaryDirectory(prefix="glualign-") as folder, _without(folder + os.sep):
        file = _stdin_file(folder) if dashes else ""
        for key, several in files.items():
            named = tuple(file if one == "-" else one for one in several)
            values[key] = named[0] if isinstance(values[key], str) else named
        if values["output"] != "-":
            yield
            return
        if values.get("as_json") or sys.stdout.isatty():
            raise click.UsageError("- is for a pipe: not with --json, nor on a terminal.")
        values["output"] = file = os.path.join(folder, f"stdout{values['format'] or extension}")
        try:
            with redirect_stdout(io.StringIO()):  # the summary has no place in a pipe; warnings go to stderr
                yield
        finally:
            if os.path.exists(file):
                with open(file, "rb") as stream:
                    for block in iter(lambda: stream.read(1 << 20), b""):
                        cast("SafeStream", sys.stdout).write("", block)


@contextmanager
def _without(folder: str) -> Iterator[None]:
    """Take a folder that the user knows nothing of out of the messages of the block."""
    try:
        yield
    except GlualignError as error:
        raise type(error)(str(error).replace(folder, "")) from error


def _stdin_file(folder: str) -> str:
    """What standard input holds, as a file with the extension that its content asks for."""
    content = sys.stdin.buffer.read(PIPE_LIMIT + 1) if sys.stdin is not None else b""
    if len(content) > PIPE_LIMIT:
        raise GlualignError(f"standard input holds more than {PIPE_LIMIT / 1e9:.1f} GB; give a file")
    if not content:
        raise GlualignError("standard input is empty; - reads an image or a flow from it")
    found = [extension for start, extension in _BEGINNINGS.items() if content.startswith(start)]
    path = os.path.join(folder, f"stdin{found[0] if found else ''}")
    with open(path, "wb") as stream:
        stream.write(content)
    return path


@contextmanager
def termination_as_interrupt() -> Iterator[list[int]]:
    """Within the block SIGTERM, once added to the list yielded, does what Ctrl-C does: everything is tidied.

    A handler that is there already, or threads that may set none, are left alone.
    """
    signals: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    with ExitStack() as former:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and current_thread() is main_thread():
            former.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, interrupt))
        yield signals


@contextmanager
def interruptible(what: str) -> Iterator[list[int]]:
    """Within the block the first Ctrl-C (or SIGTERM, from a scheduler) adds its number to the list yielded.

    The second ends the process, as it does otherwise.
    """
    signals: list[int] = []
    with ExitStack() as former:

        def take(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            former.close()
            note(f"glualign: finishing the {what} at hand; once more to stop at once")

        for number in (signal.SIGINT, signal.SIGTERM):
            former.callback(signal.signal, number, signal.signal(number, take))
        yield signals


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


def warn(message: str) -> None:
    """Print one warning line on stderr, unless `is_quiet`."""
    if not is_quiet():
        note(f"glualign: warning: {message}")


def progress_on(*columns: ProgressColumn, show: bool = True, transient: bool = True) -> Progress:
    """A progress display on stderr; one that shows nothing if `is_quiet`, without a terminal or ``show``.

    What is printed meanwhile appears above it. Descriptions are not escaped.
    """
    from rich.console import Console
    from rich.progress import Progress

    shown = show and sys.stderr.isatty() and not is_quiet()
    if shown:
        stream: Any = SafeStream(sys.stderr, "standard error", _IN_CODES)
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
