"""Files: opened without waiting for a pipe or device, written so that no half file is left, locked; JSON."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from glualign.errors import GlualignError, OutputError

PathLike = str | os.PathLike[str]
PIPE_LIMIT = 4 << 30
"""Bytes read from a pipe before it is refused: it has to be held in memory."""
FRAMES_ASIDE = ".glualign-frames-"
"""How folders begin in which the frames of a video are written aside, in the output folder of a batch."""
_NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.ENOSYS}


@contextmanager
def reading(
    path: PathLike, error: type[GlualignError] = GlualignError, limit: int = PIPE_LIMIT
) -> Iterator[BinaryIO]:
    """Open a file for a block that decodes it, whose errors become errors about the file.

    A pipe of the shell (``<(command)``, ``/dev/stdin``) is read into memory first.

    Raises:
        GlualignError: as ``error``: the path is missing, a folder, a named pipe or a device (which can wait
            for ever), a pipe that holds more than ``limit`` bytes, or cannot be read. What the block raises,
            with the path in front; anything else that the block raises as ``error``, because decoders meet
            damaged files with errors of every kind.
    """
    name = os.fspath(path)
    with ExitStack() as stack:
        try:
            mode = os.stat(name).st_mode
            if stat.S_ISDIR(mode):
                raise error(f"{name}: is a folder; give a file")
            is_pipe = stat.S_ISFIFO(mode) and re.fullmatch(r"/dev/(stdin|fd/\d+)|/proc/self/fd/\d+", name)
            if not (is_pipe or stat.S_ISREG(mode)):
                raise error(f"{name}: is a named pipe or a device; copy its content to a file first")
            stream: BinaryIO = stack.enter_context(open(name, "rb"))
            if is_pipe:
                data = stream.read(limit + 1)
                if len(data) > limit:
                    large = f"{limit / 1e9:.1f} GB"
                    raise error(f"{name}: the pipe holds more than {large}; write it to a file first")
                stream = io.BytesIO(data)
        except FileNotFoundError as reason:
            raise error(f"{name}: no such file") from reason
        except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
            what = getattr(reason, "strerror", None) or reason
            raise error(f"{name}: cannot be read ({what})") from reason
        try:
            yield stream
        except GlualignError as reason:
            known = str(reason).startswith(f"{path}: ")
            raise (reason if known else type(reason)(f"{path}: {reason}")) from reason.__cause__
        except MemoryError as reason:
            raise error(f"{path}: there is not enough memory to read it") from reason
        except Exception as reason:
            if isinstance(reason, OSError) and reason.errno:
                if reason.errno == errno.ENOSPC:  # of what the block writes
                    raise
                raise error(f"{path}: cannot be read ({reason.strerror or reason})") from reason
            raise error(f"{path}: is truncated or damaged; copy or fetch it again ({reason})") from reason


def read_bytes(path: PathLike, limit: int, *, error: type[GlualignError] = GlualignError) -> bytes:
    """The content of a file or pipe of at most ``limit`` bytes; raises as `reading` does."""
    with reading(path, error, limit) as stream:
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise error(f"holds more than {limit / 1e6:.0f} MB; it is not what is expected here")
    return data


_in_place: ContextVar[bool] = ContextVar("in_place", default=False)


@contextmanager
def writing_in_place() -> Iterator[None]:
    """Within the block `atomic_path` yields the path itself: for a private folder, moved as a whole later."""
    token = _in_place.set(True)
    try:
        yield
    finally:
        _in_place.reset(token)


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) that becomes ``path`` when the block succeeds.

    The parent folder is created. On any exception the temporary file is removed and ``path`` is untouched. A
    symbolic link at ``path`` is replaced, not followed.

    Raises:
        OutputError: the folder cannot be created or written, or ``path`` is a folder.
    """
    final = Path(path)
    try:
        with suppress(FileNotFoundError):
            os.lstat(final)  # names that cannot be are found now, not after the work
        if final.is_dir():
            raise OutputError(f"{final}: is a folder; give a file name")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final
        if not _in_place.get():
            temporary = final.with_name(f".glualign-{secrets.token_hex(8)}{final.suffix[-20:]}")
            temporary.touch(exist_ok=False)  # with the permissions that new files get
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{final}: cannot be written ({reason}); choose another name") from error
    try:
        yield temporary
        if temporary != final:
            os.replace(temporary, final)
    except OSError as error:
        raise OutputError(f"{final}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary != final:
            with suppress(OSError):
                temporary.unlink()


def write_bytes(path: PathLike, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: PathLike, text: str, errors: str = "surrogateescape") -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically; names in it that are no text as ``errors`` says."""
    write_bytes(path, text.encode("utf-8", errors))


def flush_to_disk(path: PathLike) -> None:
    """Have the operating system put a file, or the names in a folder, on the disk.

    Network and FUSE file systems that cannot flush a folder say so with an error of their own, which means
    no harm and is ignored.

    Raises:
        OSError: the file cannot be flushed, for example because the disk is full.
    """
    if os.name == "nt":  # Windows flushes neither folders nor files opened for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno in _NO_FOLDERS and stat.S_ISDIR(os.fstat(descriptor).st_mode)):
            raise
    finally:
        os.close(descriptor)


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks (some Lustre and FUSE mounts) answer; work goes on unlocked there."""


@contextmanager
def locked(folder: Path, locks: Mapping[str, bool], taken: GlualignError) -> Iterator[None]:
    """Hold lock files in ``folder``, which is made: by name, whether others may share the lock.

    The files stay behind and mean nothing by themselves: the system drops the locks of a dead process.
    Symbolic links are not followed: one in place of the folder or of a lock would let two runs lock different
    files. Where another process holds a lock ``taken`` is raised, an error of its type where a file cannot be
    made.
    """
    with ExitStack() as stack:
        try:
            for link in filter(Path.is_symlink, (folder, *(folder / name for name in locks))):
                raise OSError(errno.ELOOP, f"{link.name} is a symbolic link")
            folder.mkdir(parents=True, exist_ok=True)
            for name, shared in locks.items():
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
                descriptor = os.open(folder / name, flags, 0o666)
                stack.callback(os.close, descriptor)
                _lock(descriptor, shared=shared)
        except BlockingIOError as error:
            raise taken from error
        except OSError as error:
            raise type(taken)(f"{folder}: cannot be written ({error.strerror}); choose another -o") from error
        yield


def _lock(descriptor: int, *, shared: bool) -> None:
    """Lock a file, or raise a `BlockingIOError`. On Windows a whole run and a shard do not see each other."""
    try:
        if sys.platform == "win32":  # which has no shared form of this lock
            import msvcrt

            if not shared:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except PermissionError as error:
        raise BlockingIOError from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


composed = partial(unicodedata.normalize, "NFC")
"""A name with its accents composed, as some programs write them and others do not."""


def folded(name: str) -> str:
    """What names have in common that are one file somewhere.

    macOS and Windows keep A.png and a.png in one file, macOS both compositions of an accent.
    """
    return composed(composed(name).casefold())


MASK_ENDING = "_mask.png"
"""How the name of an image's mask goes on after the image's stem."""


def mask_beside(path: PathLike) -> Path:
    """Where the mask of an image lies, if it has one: ``NAME_mask.png`` beside it."""
    image = Path(path)
    return image.parent / f"{image.stem}{MASK_ENDING}"


def json_values(value: Any) -> Any:
    """``value`` with dataclasses and mappings as dictionaries, arrays as lists, paths as text.

    NaN and infinity become None, because JSON has no word for them.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return json_values(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy here
        return json_values(value.tolist())
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
