"""Middlebury ``.flo``: "PIEH", int32 width and height, then float32 u, v row by row, little-endian.

Unknown pixels are written as 1e10 and recognised by a component beyond 1e9, or by NaN, which some tools
write. It stores neither direction nor source size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glualign.arrays import Floats
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import check_grid, check_length, unknown_to_nan
from glualign.geometry import strips

_MAGIC = b"PIEH"  # the bytes of float32 202021.25
_HEADER = 12
_UNKNOWN = np.float32(1e10)


@dataclass(frozen=True)
class FloFile:
    """A ``.flo`` on disk that gives its rows on request."""

    path: Path
    size: tuple[int, int]
    source_size: tuple[int, int] | None = None

    def rows(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop`` as ``(stop - start, W, 2)``; unknown pixels are NaN."""
        width = self.size[1]
        count = min(stop, self.size[0]) - start
        values = np.fromfile(self.path, "<f4", 2 * width * count, offset=_HEADER + 8 * width * start)
        if values.size != 2 * width * count:
            raise FlowError(f"{self.path}: is truncated (it changed while it was read)")
        return unknown_to_nan(values.reshape(count, width, 2))


def open_rows(path: Path, max_pixels: int | None) -> FloFile:
    """Open a ``.flo`` whose header and length are sound."""
    with path.open("rb") as stream:
        head, length = stream.read(_HEADER), stream.seek(0, 2)
    if not head.startswith(_MAGIC):
        raise FlowError("is not a .flo file (it does not start with PIEH)")
    if len(head) < _HEADER:
        raise FlowError(f"is truncated (the header has {len(head)} of {_HEADER} bytes)")
    width, height = struct.unpack("<ii", head[4:])
    check_grid(width, height, max_pixels)
    check_length(length, _HEADER + 8 * width * height)
    return FloFile(path, (height, width))


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.flo``."""
    opened = open_rows(path, max_pixels)
    return Flow(opened.rows(0, opened.size[0]))


def write(path: Path, flow: Flow) -> None:
    """Write a ``.flo``, a strip at a time."""
    with path.open("wb") as stream:
        stream.write(_MAGIC + struct.pack("<ii", flow.width, flow.height))
        for top, bottom in strips(flow.size):
            rows = flow.rows(top, bottom)
            stream.write(np.where(np.isnan(rows), _UNKNOWN, rows).astype("<f4").tobytes())
