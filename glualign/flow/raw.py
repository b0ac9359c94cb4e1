"""Flow as plain samples: Middlebury's ``.flo``, ``.pfm``, KITTI's ``.png``; and checks of every flow reader.

None of the three stores the source size. Messages are without the file's name: `read_flow` puts it in front.
"""

from __future__ import annotations

import re
import struct
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from glualign.arrays import Array, Floats
from glualign.errors import FlowError, MissingExtraError
from glualign.flow.field import Flow
from glualign.geometry import strips

MAX_FLOW_PIXELS = 300_000_000
# Middlebury's rule: a component beyond this marks the pixel as unknown.
UNKNOWN_ABOVE = 1e9
# Deflate cannot shrink more than this (RFC 1951), so a shorter stream cannot hold the field.
MAX_DEFLATE_RATIO = 1032
DIRECTION = "target -> source: target pixel (x, y) shows source position (x + u, y + v), in pixels"

_FLO_MAGIC = b"PIEH"  # the bytes of float32 202021.25
_FLO_UNKNOWN = np.float32(1e10)
_PFM_HEADER = re.compile(rb"PF\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[0-9.eE+-]{1,20})[ \t]*\r?\n")
_KITTI_SCALE, _KITTI_OFFSET = 64.0, 32768.0


def check_grid(width: int, height: int, max_pixels: int | None, what: str = "") -> None:
    """Refuse a size, of the field or of ``what``, that is not positive or exceeds the limit."""
    if width <= 0 or height <= 0:
        raise FlowError(f"the header claims {what}{width} x {height} pixels; the file is damaged")
    if max_pixels is not None and width * height > max_pixels:
        raise FlowError(
            f"{what}{width} x {height} pixels exceed the limit of {max_pixels / 1e6:g} megapixels; "
            "read_flow(..., max_pixels=None) reads it if you trust the file"
        )


def import_extra(module: str, extra: str) -> Any:
    """The optional module that a format needs; MissingExtraError when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this format needs {module}; install it with: pip install 'glualign[{extra}]'"
        ) from error


def unknown_to_nan(data: Array) -> Floats:
    """``(H, W, 2)`` as float32 with every pixel that is NaN, infinite or beyond 1e9 set to NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.asarray(data, np.float32)
        unknown = ~(np.abs(out) <= UNKNOWN_ABOVE).all(axis=2, keepdims=True)
    return np.where(unknown, np.float32(np.nan), out) if unknown.any() else out


def read_flo(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read a ``.flo``: "PIEH", int32 width and height, then float32 u, v row by row, little-endian.

    Unknown pixels have a component beyond 1e9, or NaN, which some tools write.
    """
    head = stream.read(12)
    if not head.startswith(_FLO_MAGIC):
        raise FlowError("is not a .flo file (it does not start with PIEH)")
    if len(head) < 12:
        raise FlowError(f"is truncated (the header has {len(head)} of 12 bytes)")
    width, height = struct.unpack("<ii", head[4:])
    return Flow(unknown_to_nan(_samples(stream, "<f4", (height, width, 2), max_pixels)))


def write_flo(path: Path, flow: Flow) -> None:
    """Write a ``.flo``, a strip at a time, with 1e10 where the flow is unknown."""
    with path.open("wb") as stream:
        stream.write(_FLO_MAGIC + struct.pack("<ii", flow.width, flow.height))
        for top, bottom in strips(flow.size):
            rows = flow.data[top:bottom]
            stream.write(np.where(np.isnan(rows), _FLO_UNKNOWN, rows).astype("<f4").tobytes())


def read_pfm(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read a portable float map: three channels u, v, 0, rows from bottom to top, NaN where unknown."""
    match = _PFM_HEADER.match(stream.read(256))
    if match is None:
        raise FlowError("is not a colour PFM (its header is not 'PF', width, height, scale)")
    stream.seek(match.end())
    order = "<f4" if float(match[3]) < 0 else ">f4"
    values = _samples(stream, order, (int(match[2]), int(match[1]), 3), max_pixels)
    return Flow(unknown_to_nan(values[::-1, :, :2]))


def write_pfm(path: Path, flow: Flow) -> None:
    """Write a little-endian PFM."""
    values = np.zeros((*flow.size, 3), "<f4")
    values[..., :2] = flow.data[::-1]
    path.write_bytes(b"PF\n%d %d\n-1.0\n" % (flow.width, flow.height) + values.tobytes())


def read_kitti(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read KITTI's 16-bit PNG: red = u * 64 + 2^15, green = v * 64 + 2^15, blue not 0 where known.

    Blue is 1 where the flow is known; some tools write 255.
    """
    from glualign.images import read_image

    pixels = read_image(path, apply_orientation=False, max_pixels=max_pixels).pixels
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise FlowError("is a picture, not a KITTI flow (a flow is 16-bit RGB); use a .flo or .npy file")
    known = pixels[..., 2]
    if not ((known == 0) | (known == known.max())).all() or known.max() not in (0, 1, 255):
        raise FlowError("is a 16-bit picture, not a KITTI flow (its blue channel is not 0 or 1)")
    data = (pixels[..., :2].astype(np.float32) - _KITTI_OFFSET) / np.float32(_KITTI_SCALE)
    data[known == 0] = np.nan
    return Flow(data)


def write_kitti(path: Path, flow: Flow) -> None:
    """Write a KITTI flow, rounded to 1/64 px; what lies beyond -512 to 511.98 px is refused."""
    from glualign.images.write import png_parts

    known = flow.known
    values = np.rint(flow.data[known].astype(np.float64) * _KITTI_SCALE + _KITTI_OFFSET)
    if values.size and (values.min() < 0 or values.max() > 65535):
        largest = float(np.abs(flow.data[known]).max())
        raise FlowError(f"KITTI .png holds flow within 512 px, this one reaches {largest:.1f} px; use .flo")
    pixels = np.zeros((*flow.size, 3), np.uint16)
    pixels[known, :2] = values.astype(np.uint16)
    pixels[..., 2] = known
    path.write_bytes(b"".join(png_parts(pixels, None, None, f"Optical flow, {DIRECTION}")))


def _samples(stream: BinaryIO, kind: str, shape: tuple[int, int, int], max_pixels: int | None) -> Array:
    """The four-byte samples in the rest of a file, which has to hold just as many."""
    height, width, channels = shape
    check_grid(width, height, max_pixels)
    start, expected = stream.tell(), 4 * height * width * channels
    found = stream.seek(0, 2) - start
    if found != expected:
        problem = "is truncated" if found < expected else "has bytes left over"
        raise FlowError(f"{problem} (its values need {expected} bytes, the file holds {found})")
    stream.seek(start)
    values = np.frombuffer(bytearray(expected), np.uint8)
    stream.readinto(values)  # type: ignore[attr-defined]
    return values.view(kind).reshape(shape)
