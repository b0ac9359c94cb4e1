"""NumPy's ``.npy`` and ``.npz``: an array (H, W, 2), or (2, H, W), with NaN where unknown.

An ``.npz`` of ours holds ``flow``, ``source_size`` and ``direction``. One of others is read when it has
``flow``, ``u`` and ``v`` (H, W), or just one array; ``valid`` (H, W), where it is there, marks known pixels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from glualign.arrays import Array
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION, MAX_DEFLATE_RATIO, check_grid, unknown_to_nan


class _Member(NamedTuple):
    """A stored array: how to open it, its bytes, and the most that what is stored of it can inflate to."""

    open: Callable[[], IO[bytes]]
    size: int
    most: int


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read an array or an archive of arrays; never unpickles."""
    if path.suffix.lower() == ".npy":
        size = path.stat().st_size
        return _read({"flow": _Member(lambda: path.open("rb"), size, size)}, max_pixels)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FlowError("is not an .npz archive, or is truncated") from error
    members = {}
    with archive:
        for info in archive.infolist():
            name, most = info.filename.removesuffix(".npy"), info.compress_size
            if name in members:
                raise FlowError(f"holds two arrays named {name}; it is damaged")
            if info.compress_type:  # deflate is the only compression that NumPy uses
                most = most * MAX_DEFLATE_RATIO + 1024 if info.compress_type == zipfile.ZIP_DEFLATED else 0
            members[name] = _Member(partial(archive.open, info), info.file_size, most)
        return _read(members, max_pixels)


def write(path: Path, flow: Flow) -> None:
    """Write little-endian float32, in a compressed archive with source size and direction for ``.npz``."""
    data = flow.data.astype("<f4", copy=False)
    with path.open("wb") as stream:
        if path.suffix.lower() == ".npy":
            np.save(stream, data, allow_pickle=False)
        else:
            size = np.array(flow.source_frame, np.int64)
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
    arrays = [_values(members[name]) for name in names]
    whole = np.stack(arrays, axis=2) if len(arrays) == 2 else arrays[0]
    data = unknown_to_nan(whole if shape[2] == 2 else np.moveaxis(whole, 0, 2))
    if shapes["valid"] == (height, width):
        data = np.where(_values(members["valid"]).astype(bool)[..., None], data, np.float32(np.nan))
    if shapes["source_size"] != (2,):
        return Flow(data)
    rows, columns = _values(members["source_size"])
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


def _values(member: _Member) -> Array:
    with member.open() as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
