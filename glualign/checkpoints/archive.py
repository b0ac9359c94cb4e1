"""Taking one file of weights out of an archive, whatever else the archive holds."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from glualign.checkpoints.registry import SUFFIXES
from glualign.errors import CheckpointError

_MAX_MEMBER_BYTES = 4 << 30


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive of files, which torch's own zip format is not."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    try:
        with tarfile.open(path) as archive:
            # Zeros pass for a tar archive without members.
            return archive.next() is not None
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError):
        return False


def extract_weights(path: Path, destination: Path, *, member: str = "") -> None:
    """Write one file of weights from the archive ``path`` to ``destination``.

    Names inside the archive choose the member but no path: nothing else is written anywhere.

    Args:
        path: a zip or tar archive.
        destination: where the content goes.
        member: base name of the file; without it the archive must hold exactly one file of weights.

    Raises:
        CheckpointError: damaged, no such member, or more than one candidate.
    """
    try:
        with _open_archive(path) as members:
            chosen = _choose(path, sorted(members), member)
            size, opened = members[chosen]
            if size > _MAX_MEMBER_BYTES:
                raise CheckpointError(f"{path}: {chosen} is larger than 4 GiB, too large for these weights")
            with opened() as source, destination.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"{path}: damaged or unreadable archive ({error})") from error


class _Member:
    """A regular file in an archive, opened on demand."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, name: str) -> None:
        self._archive = archive
        self._name = name

    def __call__(self) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(self._name)
        stream = self._archive.extractfile(self._name)
        assert stream is not None  # only regular files are offered
        return stream


@contextmanager
def _open_archive(path: Path) -> Iterator[dict[str, tuple[int, _Member]]]:
    """The regular files of an archive: size and opener by name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            yield {
                info.filename: (info.file_size, _Member(zipped, info.filename))
                for info in zipped.infolist()
                if not info.is_dir()
            }
    else:
        with tarfile.open(path) as tarred:
            yield {info.name: (info.size, _Member(tarred, info.name)) for info in tarred if info.isreg()}


def _choose(path: Path, names: list[str], member: str) -> str:
    if member:
        candidates = [name for name in names if PurePosixPath(name).name == member]
        missing = f"holds no {member}"
    else:
        candidates = [name for name in names if name.endswith(SUFFIXES)]
        missing = "holds no file of weights"
    if not candidates:
        raise CheckpointError(f"{path}: the archive {missing}")
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: the archive holds several candidates ({', '.join(candidates[:3])}); unpack it"
        )
    return candidates[0]
