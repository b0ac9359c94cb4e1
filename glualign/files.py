"""Files: opened without waiting for a pipe or device, and written so that no half file is left."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from glualign.errors import GlualignError, OutputError

PIPE_LIMIT = 4 << 30
"""Bytes read from a pipe before it is refused: it has to be held in memory."""


def open_regular(
    path: str | os.PathLike[str], *, limit: int = PIPE_LIMIT, error: type[GlualignError] = GlualignError
) -> BinaryIO:
    """Open a file for reading; a pipe of the shell (``<(command)``, ``/dev/stdin``) is read into memory.

    Args:
        path: the file.
        limit: bytes that a pipe may hold.
        error: the class of error raised.

    Raises:
        GlualignError: as ``error``: the path is missing, a folder, a named pipe or a device (which can wait
            for ever), a pipe that holds more than ``limit``, or cannot be read.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise error(f"{name}: is a folder; give a file")
        if stat.S_ISREG(mode):
            return open(name, "rb")
        if not stat.S_ISFIFO(mode) or not re.fullmatch(r"/dev/(stdin|fd/\d+)|/proc/self/fd/\d+", name):
            raise error(f"{name}: is a named pipe or a device, not a file; copy its content to a file first")
        with open(name, "rb") as pipe:
            data = pipe.read(limit + 1)
    except FileNotFoundError as reason:
        raise error(f"{name}: no such file") from reason
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        raise error(f"{name}: cannot be read ({getattr(reason, 'strerror', None) or reason})") from reason
    if len(data) > limit:
        raise error(f"{name}: the pipe holds more than {limit / 1e9:.1f} GB; write it to a file first")
    return io.BytesIO(data)


def read_bytes(
    path: str | os.PathLike[str], limit: int, *, error: type[GlualignError] = GlualignError
) -> bytes:
    """The content of a file or pipe of at most ``limit`` bytes, opened by `open_regular`.

    Raises:
        GlualignError: as ``error``: as `open_regular`, or the file holds more than ``limit``.
    """
    with open_regular(path, limit=limit, error=error) as stream:
        try:
            data = stream.read(limit + 1)
        except OSError as reason:
            raise error(f"{path}: cannot be read ({reason.strerror or reason})") from reason
    if len(data) > limit:
        raise error(f"{path}: holds more than {limit / 1e6:.0f} MB; it is not what is expected here")
    return data


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) that becomes ``path`` when the block succeeds.

    The parent folder is created. On any exception the temporary file is removed and ``path`` is untouched.

    Raises:
        OutputError: the folder cannot be created or written, or ``path`` is a folder.
    """
    final = Path(path)
    if final.is_dir():
        raise OutputError(f"{final}: is a folder; give a file name")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.stem[:40]}.", suffix=final.suffix)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{final}: cannot be written ({_reason(error)}); choose another folder") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, final)
    except OSError as error:
        raise OutputError(f"{final}: cannot be written ({_reason(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
