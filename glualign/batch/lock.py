"""One run at a time in an output folder, by a lock that the operating system drops when the process dies."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from glualign.batch.jobs import Shard
from glualign.errors import BatchError

# File systems without locks (some Lustre and FUSE mounts) answer with one of these; work goes on unlocked
# there.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def hold(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other runs out of ``folder`` while the block runs.

    A whole run excludes everything; shards exclude whole runs and the same shard, not each other. The lock
    files stay behind and mean nothing by themselves.

    Raises:
        BatchError: another run is at work there, or the lock file cannot be made.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = [stack.enter_context((folder / "lock").open("a+"))]
            if shard is not None:
                files.append(stack.enter_context((folder / f"lock-{shard}").open("a+")))
        except OSError as error:
            raise BatchError(f"{folder}: cannot be written ({error.strerror}); choose another -o") from error
        free = _lock(files[0], shared=shard is not None) and all(
            _lock(file, shared=False) for file in files[1:]
        )
        if not free:
            which = (
                "this folder" if shard is None else f"this folder (the whole batch, or shard {shard} of it)"
            )
            raise BatchError(
                f"{folder.parent}: another run is writing into {which}; wait for it or choose another -o"
            )
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str], *, shared: bool) -> bool:
        # Windows has no shared form of this lock: there, a whole run and a shard of it do not see each other.
        if shared:
            return True
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: IO[str], *, shared: bool) -> bool:
        try:
            fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return True
            raise BatchError(f"{file.name}: cannot be locked ({os.strerror(error.errno or 0)})") from error
        return True
