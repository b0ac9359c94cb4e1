"""NumPy's ``.npy`` and ``.npz``: an array (H, W, 2), or (2, H, W), with NaN where unknown.

An ``.npz`` of ours holds ``flow``, ``source_size`` and ``direction``. One of others is read when it has
``flow``, ``u`` and ``v`` (H, W), or just one array; ``valid`` (H, W), where it is there, marks known pixels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION, MAX_DEFLATE_RATIO, check_grid, unknown_to_nan


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read an array or an archive of arrays; never unpickles."""
    return (_read_npz if path.suffix.lower() == ".npz" else _read_npy)(path, max_pixels)


def write(path: Path, flow: Flow) -> None:
    """Write little-endian float32, in a compressed archive with source size and direction for ``.npz``."""
    data = flow.data.astype("<f4", copy=False)
    with path.open("wb") as stream:
        if path.suffix.lower() == ".npy":
            np.save(stream, data, allow_pickle=False)
        else:
            size = np.array(flow.source_frame, np.int64)
            np.savez_compressed(stream, flow=data, source_size=size, direction=np.array(DIRECTION))


def _read_npy(path: Path, max_pixels: int | None) -> Flow:
    with path.open("rb") as stream:
        shape, dtype = _header(stream, path)
        _check_shape(path, shape, max_pixels)
        if dtype.kind not in "fiu" or dtype.itemsize > 8:
            raise FlowError(f"{path}: holds {dtype} values, not a flow; save it as float32")
        needed, offset = int(np.prod(shape, dtype=object)) * dtype.itemsize, stream.tell()
        found = stream.seek(0, 2) - offset
        if found < needed:
            raise FlowError(f"{path}: is truncated ({found} of {needed} bytes of values)")
        stream.seek(0)
        return Flow(_field(np.lib.format.read_array(stream, allow_pickle=False)))


def _read_npz(path: Path, max_pixels: int | None) -> Flow:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FlowError(f"{path}: is not an .npz archive, or is truncated") from error
    with archive:
        arrays = _Arrays(path, archive)
        flat = arrays.shape("u")
        pair = flat is not None and flat == arrays.shape("v")
        name = "" if pair else arrays.name_of_flow()
        shape = (*flat, 2) if pair and flat else arrays.shape(name) or ()
        _check_shape(path, shape, max_pixels)
        data = _field(np.stack([arrays.values("u"), arrays.values("v")], 2) if pair else arrays.values(name))
        if arrays.shape("valid") == data.shape[:2]:
            data = np.where(arrays.values("valid").astype(bool)[..., None], data, np.float32(np.nan))
        source_size = None
        if arrays.shape("source_size") == (2,):
            height, width = (int(side) for side in arrays.values("source_size"))
            source_size = (height, width)
    return Flow(data, source_size)


class _Arrays:
    """The arrays of an archive; what each announces is checked before its values are read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise FlowError(f"{path}: holds two arrays named {name}; it is damaged")
            self._members[name] = info

    def name_of_flow(self) -> str:
        """``flow``, or the only array; FlowError when there are several others."""
        name = next(iter(self._members)) if len(self._members) == 1 else "flow"
        if name not in self._members:
            names = ", ".join(sorted(self._members)[:8]) or "none"
            raise FlowError(f"{self._path}: has no array named flow (it holds {names})")
        return name

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape that an array announces; None when it is absent or holds no numbers."""
        info = self._members.get(name)
        if info is None:
            return None
        with self._archive.open(info) as stream:
            shape, dtype = _header(stream, self._path)
            needed = int(np.prod(shape, dtype=object)) * dtype.itemsize + stream.tell()
        packed = info.compress_type == zipfile.ZIP_DEFLATED
        held = info.compress_size * MAX_DEFLATE_RATIO + 1024 if packed else info.compress_size
        if needed != info.file_size or needed > held or (info.compress_type and not packed):
            raise FlowError(f"{self._path}: is truncated or damaged (its {name:.40} needs {needed} bytes)")
        return shape if dtype.kind in "biuf" and dtype.itemsize <= 8 else None

    def values(self, name: str) -> npt.NDArray[Any]:
        """The values of an array whose `shape` was looked up."""
        with self._archive.open(self._members[name]) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an ``.npy`` stream announces; the stream is left at its values."""
    try:
        version = np.lib.format.read_magic(stream)
        readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, _, dtype = readers[version != (1, 0)](stream)
    except Exception as error:  # numpy parses the header as Python literals; anything may come of it.
        raise FlowError(
            f"{path}: has no valid .npy header; the file is damaged or of another kind"
        ) from error
    if dtype.hasobject:
        raise FlowError(f"{path}: holds Python objects, which are never loaded; save it as a float32 array")
    return shape, dtype


def _check_shape(path: Path, shape: tuple[int, ...], max_pixels: int | None) -> None:
    if len(shape) != 3 or 2 not in (shape[0], shape[2]):
        raise FlowError(f"{path}: is an array of shape {shape}, not a flow (height, width, 2)")
    height, width = shape[:2] if shape[2] == 2 else shape[1:]
    check_grid(path, width, height, max_pixels)


def _field(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return unknown_to_nan(array if array.shape[2] == 2 else np.moveaxis(array, 0, 2))
