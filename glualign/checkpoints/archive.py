"""Taking one file of weights out of a zip archive, whatever else the archive holds."""

from __future__ import annotations

import errno
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from glualign.checkpoints.registry import SUFFIXES
from glualign.errors import CheckpointError

_MAX_MEMBER_BYTES = 1 << 30


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive of files, which torch's own zip format is not.

    Raises:
        CheckpointError: the file is a damaged zip archive, or an archive of another kind.
    """
    with path.open("rb") as stream:
        head = stream.read(262)
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")) or head[257:] == b"ustar":
        raise CheckpointError(f"{path}: is an archive that is not read; unpack it and import the file in it")
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception as error:  # zipfile raises more than its own errors on damage
        raise CheckpointError(f"{path}: damaged or unreadable archive ({error})") from error


def extract_weights(path: Path, destination: Path, *, member: str = "") -> None:
    """Write one file of weights from the zip archive ``path`` to ``destination``.

    Names inside the archive choose the member but no path: nothing else is written anywhere.

    Args:
        path: a zip archive.
        destination: where the content goes.
        member: base name of the file; without it the archive must hold exactly one file of weights.

    Raises:
        CheckpointError: damaged, no such member, more than one candidate, or one that is too large.
        OSError: the destination cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            info = archive.getinfo(_choose(path, sorted(names), member))
            if info.file_size > _MAX_MEMBER_BYTES:
                raise CheckpointError(f"{path}: {info.filename} is larger than 1 GiB, too large for weights")
            # What is read never exceeds the size that the archive claims.
            with archive.open(info) as source, destination.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except Exception as error:  # zipfile raises more than its own errors on damage
        if isinstance(error, CheckpointError) or getattr(error, "errno", None) == errno.ENOSPC:
            raise
        raise CheckpointError(f"{path}: damaged or unreadable archive ({error})") from error


def _choose(path: Path, names: list[str], member: str) -> str:
    if member:
        candidates = [name for name in names if PurePosixPath(name).name == member]
    else:
        candidates = [name for name in names if name.endswith(SUFFIXES)]
    if not candidates:
        raise CheckpointError(f"{path}: the archive holds no {member or 'file of weights'}")
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: the archive holds several candidates ({', '.join(candidates[:3])}); unpack it"
        )
    return candidates[0]
