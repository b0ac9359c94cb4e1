"""Standard streams: nothing that a file made up reaches a terminal, and ``-`` is a file for commands.

File names, headers and error messages come from outside: `escaped` is the one place where their control
characters become visible.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from tempfile import TemporaryDirectory
from typing import Any, cast

import click

from glualign.errors import GlualignError, OutputError
from glualign.files import PIPE_LIMIT

# Control characters (C0, then DEL and C1), line separators, marks that turn the direction of text, lone
# surrogates: all of them in a name, all but tab and line feed in printed lines, and beneath rich, which
# strips other sequences from what it is given, all but those that start the codes of colours and cursor.
_BEYOND_C0 = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_NAMES = re.compile(f"[\x00-\x1f{_BEYOND_C0}]")
_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_C0}]")
IN_CODES = re.compile(f"\x1b(?!\\[)|[{_BEYOND_C0}]")


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
        file = _stdin_file(folder, values.get("format")) if dashes else ""
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
    except click.UsageError as error:
        raise click.UsageError(error.message.replace(folder, ""), error.ctx) from error


def _stdin_file(folder: str, wanted: str | None) -> str:
    """What standard input holds, as a file with the extension that its content asks for.

    Key points have no beginning that tells them: they are of the format that is ``wanted``.
    """
    from glualign.keypoints import KEYPOINT_EXTENSIONS

    content = sys.stdin.buffer.read(PIPE_LIMIT + 1) if sys.stdin is not None else b""
    if len(content) > PIPE_LIMIT:
        raise GlualignError(f"standard input holds more than {PIPE_LIMIT / 1e9:.1f} GB; give a file")
    if not content:
        raise GlualignError("standard input is empty; - reads an image or a flow from it")
    found = [extension for start, extension in _BEGINNINGS.items() if content.startswith(start)]
    ending = found[0] if found else wanted if wanted in KEYPOINT_EXTENSIONS else ""
    path = os.path.join(folder, f"stdin{ending}")
    with open(path, "wb") as stream:
        stream.write(content)
    return path
