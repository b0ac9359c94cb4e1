"""Portable float map as optical-flow data sets use it: three channels u, v, 0, rows from bottom to top.

Unknown pixels are NaN. It stores neither direction nor source size.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import check_grid, check_length, unknown_to_nan

_HEADER = re.compile(rb"PF\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[0-9.eE+-]{1,20})[ \t]*\r?\n")


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a PFM flow."""
    with path.open("rb") as stream:
        match, length = _HEADER.match(stream.read(256)), stream.seek(0, 2)
    if match is None:
        raise FlowError("is not a colour PFM (its header is not 'PF', width, height, scale)")
    width, height = int(match[1]), int(match[2])
    check_grid(width, height, max_pixels)
    check_length(length - match.end(), 12 * width * height)
    order = "<" if float(match[3]) < 0 else ">"
    values = np.fromfile(path, f"{order}f4", 3 * width * height, offset=match.end())
    return Flow(unknown_to_nan(values.reshape(height, width, 3)[::-1, :, :2]))


def write(path: Path, flow: Flow) -> None:
    """Write a little-endian PFM."""
    values = np.zeros((*flow.size, 3), "<f4")
    values[..., :2] = flow.data[::-1]
    path.write_bytes(b"PF\n%d %d\n-1.0\n" % (flow.width, flow.height) + values.tobytes())
