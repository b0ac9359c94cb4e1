"""NumPy ``.npz``: ``flow`` (H, W, 2) float32 with NaN where unknown, ``source_size`` and ``direction``.

An archive of others is read when it has ``flow``, ``u`` and ``v`` (H, W), or just one array; ``valid``
(H, W), where there is one, marks the known pixels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION, MAX_DEFLATE_RATIO, check_grid
from glualign.flow.formats.npy import as_field, grid, read_header


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.npz`` flow; never unpickles.

    Raises:
        FlowError: no archive, no flow in it, truncated, damaged or too large.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FlowError(f"{path}: is not an .npz archive, or is truncated") from error
    with archive:
        arrays = _Arrays(path, archive)
        if arrays.shape("u") is not None and arrays.shape("u") == arrays.shape("v"):
            shape, name = (*(arrays.shape("u") or ()), 2), ""
        else:
            name = arrays.name_of_flow()
            shape = arrays.shape(name) or ()
        height, width = grid(path, shape)
        check_grid(path, width, height, max_pixels)
        data = as_field(
            arrays.values(name) if name else np.stack([arrays.values("u"), arrays.values("v")], axis=2)
        )
        if arrays.shape("valid") == (height, width):
            data = data.copy()
            data[~arrays.values("valid").astype(bool)] = np.nan
        source_size = None
        if arrays.shape("source_size") == (2,):
            rows, columns = (int(side) for side in arrays.values("source_size"))
            source_size = (rows, columns)
    return Flow(data, source_size)


def write(path: Path, flow: Flow) -> None:
    """Write a compressed archive."""
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            flow=flow.data.astype("<f4", copy=False),
            source_size=np.array(flow.source_frame, np.int64),
            direction=np.array(DIRECTION),
        )


class _Arrays:
    """The arrays of an archive; what each announces is checked before its values are read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise FlowError(f"{path}: holds two arrays named {name}; it is damaged")
            self._members[name] = info

    def name_of_flow(self) -> str:
        """``flow``, or the only array.

        Raises:
            FlowError: there are several, none of them ``flow``.
        """
        if "flow" in self._members:
            return "flow"
        if len(self._members) == 1:
            return next(iter(self._members))
        names = ", ".join(sorted(self._members)[:8]) or "none"
        raise FlowError(f"{self._path}: has no array named flow (it holds {names})")

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape that an array announces; None when it is absent or holds no numbers.

        Raises:
            FlowError: not an array, one of Python objects, or one of more values than its bytes can hold.
        """
        info = self._members.get(name)
        if info is None:
            return None
        with self._archive.open(info) as stream:
            shape, dtype = read_header(stream, self._path)
            needed = int(np.prod(shape, dtype=object)) * dtype.itemsize + stream.tell()
        packed = info.compress_type == zipfile.ZIP_DEFLATED
        held = info.compress_size * MAX_DEFLATE_RATIO + 1024 if packed else info.compress_size
        if needed != info.file_size or needed > held or (info.compress_type and not packed):
            raise FlowError(f"{self._path}: is truncated or damaged (its {name:.40} needs {needed} bytes)")
        return shape if dtype.kind in "biuf" and dtype.itemsize <= 8 else None

    def values(self, name: str) -> npt.NDArray[Any]:
        """The values of an array whose `shape` was looked at."""
        with self._archive.open(self._members[name]) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
