"""Locks that keep other processes out of a folder; the system drops those of a dead process."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks (some Lustre and FUSE mounts) answer; work goes on unlocked there."""


@contextmanager
def locked(folder: Path, locks: Mapping[str, bool]) -> Iterator[None]:
    """Hold lock files in ``folder``, which is made: by name, whether others may share the lock.

    The files stay behind and mean nothing by themselves. Symbolic links are not followed: one in place of the
    folder or of a lock would let two runs lock different files.

    Raises:
        BlockingIOError: another process holds a lock.
        OSError: a lock file cannot be made.
    """
    with ExitStack() as stack:
        for link in filter(Path.is_symlink, (folder, *(folder / name for name in locks))):
            raise OSError(errno.ELOOP, f"{link.name} is a symbolic link")
        folder.mkdir(parents=True, exist_ok=True)
        for name, shared in locks.items():
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(folder / name, flags, 0o666)
            stack.callback(os.close, descriptor)
            _lock(descriptor, shared=shared)
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
