"""Standard streams: what is printed made safe for a terminal, and ``-`` as a file to read or write."""

from __future__ import annotations

import codecs
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar, cast

import click

from glualign.errors import GlualignError, OutputError
from glualign.files import PIPE_LIMIT

Command = TypeVar("Command", bound=Callable[..., Any])

# Control characters (C0, DEL, C1), line separators, marks that turn the direction of text, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_C0 = "".join(map(chr, range(32)))


def escaped(text: str, *, keep: str = "", encoding: str | None = None) -> str:
    r"""``text`` with what a terminal would obey, or cannot show, as ``\uXXXX``.

    The form is that of JSON, so that a JSON document stays one.

    Args:
        text: from outside: a file name, a header, a message.
        keep: control characters that pass.
        encoding: characters that it lacks are escaped too.
    """
    text = _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _visible(match[0]), text)
    return text if encoding is None else text.encode(encoding, "glualign-visible").decode(encoding)


def _visible(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return _visible(error.object[error.start : error.end]), error.end


codecs.register_error("glualign-visible", _replace)


class SafeStream:
    """A text stream that escapes what it is given, and names itself when nothing more can be written.

    Attributes:
        rich_proxied_file: where rich writes instead: it has escaped the text, and its colours must pass.
    """

    def __init__(self, stream: Any, name: str, *, kept: str = "\n\t") -> None:
        self._stream = stream
        self._name = name
        self._kept = kept
        self.rich_proxied_file = self if kept == _C0 else SafeStream(stream, name, kept=_C0)

    def write(self, text: str) -> int:
        """Write ``text``; raises `OutputError` where the stream cannot take it."""
        if self._stream is None:
            raise OutputError(f"{self._name} is closed; nothing can be printed (--quiet prints nothing)")
        shown = escaped(text, keep=self._kept, encoding=getattr(self._stream, "encoding", None) or "utf-8")
        if shown:  # click writes empty text to see what kind of stream it has, and ignores the answer
            self._guarded(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flush; raises `OutputError` where the stream cannot take what is left."""
        if self._stream is not None:
            self._guarded(self._stream.flush)

    def write_file(self, file: BinaryIO) -> None:
        """Write the bytes of a file; raises `OutputError` where the stream cannot take them."""
        self.flush()
        self._guarded(lambda: shutil.copyfileobj(file, self._stream.buffer))
        self.flush()

    def _guarded(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except OSError as error:
            # What is left in the buffer goes nowhere, or Python would try again at its end.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"{self._name}: cannot be written ({error.strerror})") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Have everything that is printed within the block go through a `SafeStream`."""
    before = sys.stdout, sys.stderr
    sys.stdout = SafeStream(before[0], "standard output")
    # Errors that cannot be shown must not hide the exit code.
    stderr: Any = before[1] or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = SafeStream(stderr, "standard error")
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


def _extension(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return f".{value.lstrip('.')}" if value else None


format_option = click.option(
    "--format",
    metavar="EXT",
    callback=_extension,
    help="Format of standard output, or of the image written into a folder, such as png or tif.",
)


def streamable(*inputs: str, default: str, required: bool = False) -> Callable[[Command], Command]:
    """Let a command read ``-`` from standard input and write ``-`` to standard output.

    The command itself sees names of files: a temporary folder holds what comes and goes. The parameters
    ``out`` (an argument) and ``output`` (``-o``) become one ``output``.

    Args:
        inputs: parameters that name input files.
        default: extension of standard output when ``--format`` does not say.
        required: whether an output must be given.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def streaming(**options: Any) -> Any:
            out, output = options.pop("out", None), options["output"]
            if out is not None and output is not None:
                raise click.UsageError("The output is given twice, as an argument and with -o.")
            options["output"] = output = output or out
            if required and output is None:
                raise click.UsageError("Missing output: give OUT or --output.")
            given = {name: options[name] for name in inputs}
            several = {name: [value] if isinstance(value, str) else value for name, value in given.items()}
            dashes = sum(list(names).count("-") for names in several.values())
            if dashes > 1:
                raise click.UsageError("- is standard input, which holds one file only.")
            if not dashes and output != "-":
                return command(**options)
            with TemporaryDirectory(prefix="glualign-") as folder:
                file = _stdin_file(folder) if dashes else ""
                for name, names in several.items():
                    files = tuple(file if one == "-" else one for one in names)
                    options[name] = files[0] if isinstance(given[name], str) else files
                if output != "-":
                    return command(**options)
                if options.get("as_json") or sys.stdout.isatty():
                    raise click.UsageError("- is for a pipe: not with --json, nor on a terminal.")
                file = os.path.join(folder, f"stdout{options['format'] or default}")
                options.update(output=file, quiet=True)
                try:
                    return command(**options)
                finally:
                    if os.path.exists(options["output"]):
                        with open(options["output"], "rb") as stream:
                            cast("SafeStream", sys.stdout).write_file(stream)

        return cast("Command", streaming)

    return decorate


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
