"""Standard output and error at the edge: control characters made visible, a full disk told in one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from glualign.errors import OutputError

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
    if encoding is None or _encodable(text, encoding):
        return text
    return "".join(char if _encodable(char, encoding) else _visible(char) for char in text)


def _visible(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def _encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


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
