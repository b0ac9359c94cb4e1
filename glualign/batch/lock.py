"""One run at a time in an output folder, by a lock that the operating system drops when the process dies."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from glualign.batch.pairs import Shard
from glualign.errors import BatchError

# File systems without locks (some Lustre and FUSE mounts) answer with one of these; work goes on unlocked
# there.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def hold(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other runs out of ``folder`` while the block runs.

    A whole run excludes everything; shards exclude whole runs and the same shard, not each other. The lock
    files stay behind and mean nothing by themselves. Symbolic links are not followed: one in place of the
    folder or of a lock would let two runs lock different files.

    Raises:
        BatchError: another run is at work there, or the lock file cannot be made.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder.is_symlink():
                raise OSError(errno.ELOOP, "is a symbolic link")
            files = [_open(folder / name, stack) for name in ("lock", f"lock-{shard}")[: 1 + bool(shard)]]
        except OSError as error:
            raise BatchError(f"{folder}: cannot be written ({error.strerror}); choose another -o") from error
        # The lock of the whole is shared by shards, that of a shard by nobody.
        if not all(_lock(file, folder, shared=shard is not None and file is files[0]) for file in files):
            which = "" if shard is None else f" (the whole batch, or shard {shard} of it)"
            raise BatchError(
                f"{folder.parent}: another run is writing into this folder{which}; wait for it or choose "
                "another -o"
            )
        yield


def _open(path: Path, stack: ExitStack) -> int:
    if path.is_symlink():  # where O_NOFOLLOW does not exist
        raise OSError(errno.ELOOP, f"{path.name} is a symbolic link")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
    stack.callback(os.close, descriptor)
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, folder: Path, *, shared: bool) -> bool:
        # Windows has no shared form of this lock: there, a whole run and a shard of it do not see each other.
        with suppress(OSError):
            if not shared:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _lock(descriptor: int, folder: Path, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return True
            raise BatchError(f"{folder}: cannot be locked ({os.strerror(error.errno or 0)})") from error
        return True
