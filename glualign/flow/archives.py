"""Flow as arrays in files of NumPy (``.npy``, ``.npz``) and HDF5 (``.flo5``), NaN where unknown.

Ours hold ``flow`` (H, W, 2), ``source_size`` and ``direction``. An ``.npz`` of others is read when it has
``flow``, ``u`` and ``v`` (H, W), or just one array; ``valid`` (H, W), where it is there, marks known pixels.
Channels may come first. ``.flo5`` is the format of the Spring data set.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from glualign.arrays import Array
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.raw import DIRECTION, MAX_DEFLATE_RATIO, check_grid, import_extra, unknown_to_nan

# HDF5's numbers of the filters deflate, shuffle, Fletcher's checksum and LZF; others are plugins or rare.
_FILTERS = (1, 2, 3, 32000)


class _Member(NamedTuple):
    """A stored array: how to open it, its bytes, and the most that what is stored of it can inflate to."""

    open: Callable[[], IO[bytes]]
    size: int
    most: int

    def values(self) -> Array:
        with self.open() as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def read_npy(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read an array."""
    size = stream.seek(0, 2)
    return _read({"flow": _Member(lambda: path.open("rb"), size, size)}, max_pixels)


def write_npy(path: Path, flow: Flow) -> None:
    """Write little-endian float32."""
    with path.open("wb") as stream:
        np.save(stream, flow.data.astype("<f4", copy=False), allow_pickle=False)


def read_npz(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read an archive of arrays; never unpickles."""
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise FlowError("is not an .npz archive, or is truncated") from error
    members = {}
    for info in archive.infolist():
        name, most = info.filename.removesuffix(".npy"), info.compress_size
        if name in members:
            raise FlowError(f"holds two arrays named {name}; it is damaged")
        if info.compress_type:  # deflate is the only compression that NumPy uses
            most = most * MAX_DEFLATE_RATIO + 1024 if info.compress_type == zipfile.ZIP_DEFLATED else 0
        members[name] = _Member(partial(archive.open, info), info.file_size, most)
    return _read(members, max_pixels)


def write_npz(path: Path, flow: Flow) -> None:
    """Write a compressed archive with source size and direction."""
    data, size = flow.data.astype("<f4", copy=False), np.array(flow.source_frame, np.int64)
    with path.open("wb") as stream:
        np.savez_compressed(stream, flow=data, source_size=size, direction=np.array(DIRECTION))


def _read(members: dict[str, _Member], max_pixels: int | None) -> Flow:
    """The flow in an archive; the shape that an array announces is checked before its values are read."""
    shapes = {name: _shape(members, name) for name in ("u", "v", "valid", "source_size")}
    if shapes["u"] and shapes["u"] == shapes["v"]:
        names, shape = ["u", "v"], (*shapes["u"], 2)
    else:
        names = list(members) if len(members) == 1 else ["flow"]
        if names[0] not in members:
            raise FlowError(f"has no array named flow (it holds {', '.join(sorted(members)[:8]) or 'none'})")
        shape = _shape(members, names[0])
    if len(shape) != 3 or 2 not in (shape[0], shape[2]):
        raise FlowError(f"is an array of shape {shape}, not a flow (height, width, 2) of real numbers")
    height, width = shape[:2] if shape[2] == 2 else shape[1:]
    check_grid(width, height, max_pixels)
    arrays = [members[name].values() for name in names]
    whole = np.stack(arrays, axis=2) if len(arrays) == 2 else arrays[0]
    data = unknown_to_nan(whole if shape[2] == 2 else np.moveaxis(whole, 0, 2))
    if shapes["valid"] == (height, width):
        data = np.where(members["valid"].values().astype(bool)[..., None], data, np.float32(np.nan))
    if shapes["source_size"] != (2,):
        return Flow(data)
    rows, columns = members["source_size"].values()
    return Flow(data, (int(rows), int(columns)))


def _shape(members: dict[str, _Member], name: str) -> tuple[int, ...]:
    """The shape that an array announces; empty when it is absent or holds no real numbers."""
    if name not in members:
        return ()
    member = members[name]
    with member.open() as stream:
        try:
            version = np.lib.format.read_magic(stream)
            readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
            shape, _, dtype = readers[version != (1, 0)](stream)
        except Exception as error:  # numpy parses the header as Python literals; anything may come of it.
            raise FlowError("has no valid .npy header; the file is damaged or of another kind") from error
        if dtype.hasobject:
            raise FlowError("holds Python objects, which are never loaded; save it as a float32 array")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize + stream.tell()
    if needed != member.size or needed > member.most:
        raise FlowError(f"is truncated or damaged (its {name:.40} needs {needed} bytes)")
    return shape if dtype.kind in "biuf" and dtype.itemsize <= 8 else ()


def read_flo5(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read a ``.flo5`` whose values lie in the file itself."""
    h5py = import_extra("h5py", "hdf5")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FlowError("is not an HDF5 file, or is truncated") from error
    with file:
        # Any other link, external storage and virtual data sets lead to other files of the user.
        link = file.get("flow", getlink=True) if "flow" in file.id else None
        if link is not None and not isinstance(link, h5py.HardLink):
            raise FlowError("its flow is a link to another place, which is not followed")
        data = file.get("flow")
        plain = isinstance(data, h5py.Dataset) and data.dtype.kind == "f"
        if not plain or len(data.shape or ()) != 3 or data.shape[2] != 2:
            raise FlowError("has no data set 'flow' of numbers (height, width, 2)")
        if data.external or data.is_virtual:
            raise FlowError("keeps its flow in another file, which is not followed")
        check_grid(data.shape[1], data.shape[0], max_pixels)
        _check_storage(path, data)
        stored = file.attrs.get_id("source_size") if "source_size" in file.attrs else None
        sized = stored is not None and stored.shape == (2,) and stored.dtype.kind in "iu"
        source_size = file.attrs["source_size"] if sized else None
        return Flow(unknown_to_nan(np.asarray(data)), source_size)


def write_flo5(path: Path, flow: Flow) -> None:
    """Write a compressed ``.flo5`` with source size and direction as attributes."""
    h5py = import_extra("h5py", "hdf5")
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", data=flow.data, compression="gzip", compression_opts=5, shuffle=True)
        file.attrs["source_size"] = flow.source_frame
        file.attrs["direction"] = DIRECTION


def _check_storage(path: Path, data: Any) -> None:
    """Refuse a data set that has fewer bytes in the file than it needs."""
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if len(set(filters)) != len(filters) or not set(filters) <= set(_FILTERS):
        raise FlowError("uses HDF5 filters that are not supported; save it with gzip")
    held = min(data.id.get_storage_size(), path.stat().st_size)
    missing = data.size * data.dtype.itemsize > held * (MAX_DEFLATE_RATIO if filters else 1)
    if data.chunks:
        chunks = list(zip(data.shape, data.chunks, strict=True))
        missing |= any(step > side for side, step in chunks)
        missing |= data.id.get_num_chunks() != math.prod(-(-side // step) for side, step in chunks)
    if missing:
        raise FlowError("is truncated or was never written (it claims more values than it holds)")
